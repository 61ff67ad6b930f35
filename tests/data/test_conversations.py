"""Conversations and preferences in files, and the request for a summary."""

import json

import pytest

from minillm.data.conversations import form_of, read_conversations, summary_request
from minillm.errors import InputError

ASKED, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


def write(path, *rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_the_forms_of_a_conversation(tmp_path):
    rows = [
        {"messages": [ASKED, ANSWER | {"name": "x"}], "id": 3},
        {"prompt": "a", "completion": "b"},
        {"prompt": [ASKED], "completion": [ANSWER]},
        {"prompt": "a", "completion": [ASKED, ANSWER]},
    ]
    path = write(tmp_path / "chats.jsonl", *rows)
    found = list(read_conversations(path))
    assert [one.messages for one in found] == [[ASKED, ANSWER]] * 4
    assert [one.place for one in found] == [f"{path}, line {n}" for n in (1, 2, 3, 4)]
    assert form_of(path) == "conversation"
    [better] = read_conversations(
        write(
            tmp_path / "better.jsonl", {"prompt": "a", "chosen": "b", "rejected": [ASKED, ANSWER]}
        )
    )
    assert (better.messages, better.rejected) == ([ASKED, ANSWER], [ASKED, ANSWER])


def test_the_request_has_the_text_and_the_limits():
    free, one, both = (
        "".join(message["content"] for message in summary_request("The text.", *limits))
        for limits in ((), (1,), (3, 20))
    )
    assert "The text." in free
    assert not any(character.isdigit() for character in free)
    assert "one sentence" in one
    assert "3 sentences" in both
    assert "20 words" in both


def test_files_of_several_forms(tmp_path):
    chats = write(tmp_path / "chats.jsonl", {"prompt": "a", "completion": "b"})
    better = write(tmp_path / "better.jsonl", {"prompt": "a", "chosen": "b", "rejected": "c"})
    labels = write(tmp_path / "labels.jsonl", {"text": "a", "label": "b"})
    assert [form_of(path) for path in (better, labels, "a.tsv")] == ["preference", "", ""]
    with pytest.raises(
        InputError, match=r"chats.jsonl, line 1: expected preferences only, .*a con"
    ):
        list(read_conversations(better, chats))
    with pytest.raises(InputError, match=r"line 1: expected conversations only, .*a preference"):
        list(read_conversations(chats, better))
    with pytest.raises(InputError, match=r'line 1: expected "messages", .*, found none of them'):
        list(read_conversations(labels))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": []}, "expected a message of the assistant, found none"),
        ({"messages": [ASKED]}, "expected a message of the assistant, found none"),
        ({"messages": "a"}, "messages: expected array, found 'a'"),
        ({"messages": [ASKED, {"role": "tool"}]}, "messages[1].role: expected str matching regex"),
        ({"messages": [{"role": "user"}]}, "messages[0].content: expected a value, found None"),
        ({"prompt": 3, "completion": "b"}, "prompt: expected str | array, found 3"),
        ({"prompt": "a", "chosen": "b"}, 'or "prompt", "chosen" and "rejected", found none'),
        ({"prompt": "a", "chosen": "b", "rejected": [ANSWER, ASKED]}, "expected an answer as the"),
        (["a"], "expected a JSON object, found"),
    ],
)
def test_a_bad_line_is_named(tmp_path, row, expected):
    path = write(tmp_path / "chats.jsonl", row)
    with pytest.raises(InputError) as error:
        list(read_conversations(path))
    assert str(error.value).startswith(f"{path}, line 1: ")
    assert expected in str(error.value)
