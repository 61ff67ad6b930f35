"""Texts with summaries, as conversations."""

import json

import pytest

from minillm.data.conversations import (
    has_conversations,
    read_conversations,
    summary_request,
)
from minillm.data.lines import is_table
from minillm.errors import InputError

PAIRS = [("a long text of many words", "a text"), ("{another long text", "another")]


@pytest.fixture
def files(tmp_path):
    """The same pairs in both forms."""
    table, objects = tmp_path / "pairs.tsv", tmp_path / "pairs.jsonl"
    table.write_text("".join(f"{text}\t{summary}\n" for text, summary in PAIRS))
    rows = [{"source": text, "target": summary} for text, summary in PAIRS]
    objects.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return table, objects


def test_a_pair_is_the_request_and_its_answer(files):
    for path in files:
        found = list(read_conversations(path))
        assert [one.pair for one in found] == PAIRS
        assert [one.place for one in found] == [f"{path}, line 1", f"{path}, line 2"]
        for one, (text, summary) in zip(found, PAIRS, strict=True):
            assert one.messages[:-1] == summary_request(text)
            assert one.messages[-1] == {"role": "assistant", "content": summary}
    assert len(list(read_conversations(*files))) == 4


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


def test_files_of_several_forms(files, tmp_path):
    chats = tmp_path / "chats.jsonl"
    chats.write_text('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(InputError, match=r"jsonl, line 1: expected pairs only, .*a conversation"):
        list(read_conversations(files[0], chats))
    with pytest.raises(InputError, match=r"tsv, line 1: expected conversations only, .*a pair"):
        list(read_conversations(chats, files[0]))
    chats.write_text('{"source": "a", "target": "b"}\n{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(InputError, match=r'line 2: expected an object with "source"'):
        list(read_conversations(chats))
    chats.write_text('{"prompt": "a", "completion": "b"}\n{"source": "a", "target": "b"}\n')
    with pytest.raises(InputError, match=r"line 2: expected .*, found 'source', 'target'"):
        list(read_conversations(chats))


def test_each_of_several_summaries_makes_a_conversation(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"source": "a long text", "target": ["a text", "long"]}\n')
    found = [one.pair for one in read_conversations(path)]
    assert found == [("a long text", "a text"), ("a long text", "long")]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.tsv", "a text\ta\nno tab\n", "line 2: expected source<TAB>target, found no tab"),
        ("a.tsv", "a text\ta\na text\t\n", "line 2: expected source and target, found an empty"),
        ("a.tsv", "a text\ta\tb\n", "line 1: expected source<TAB>target, found 2 tabs"),
        ("a.jsonl", '{"source": "a"}\n', 'expected "messages", .* "source" and "target"'),
        ("a.jsonl", '{"target": "a"}\n', 'line 1: expected an object with "source"'),
        (
            "a.jsonl",
            '{"source": "a", "target": 3}\n',
            "line 1: expected an object with .target.: a string",
        ),
        ("a.jsonl", '{"source": "a", "target": " "}\n', "found an empty target"),
    ],
)
def test_a_bad_pair_is_told_by_its_line(tmp_path, name, text, expected):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        list(read_conversations(path))


def test_a_table_is_told_by_its_name(files):
    table, objects = files
    assert is_table(table)
    assert is_table(f"{table}.gz")
    assert not is_table(objects)
    assert has_conversations(objects)
    assert not has_conversations(table)
