"""``minillm summarise``, ``Run.summarise`` and ``Run.summaries``."""

import chatting
import pytest

import minillm
from minillm.errors import InputError
from minillm.models.extractive import lead, textrank

TEXT = "The cat sat on the mat. The dog saw the cat. Then it rained.\n"
OTHER = "A log fell.\nA dog sat on the log. The dog slept.\n"


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return minillm.load(chatting.save(tmp_path_factory.mktemp("chat") / "run", context=320))


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path, text in zip(paths, (TEXT, OTHER), strict=True):
        path.write_text(text)
    return paths


@pytest.mark.parametrize(("name", "choose"), [("lead", lead), ("textrank", textrank)])
def test_extracts(name, choose, files, prints, typed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # the word is not this folder
    one, two = ([" ".join(choose(text, k)) for text in (TEXT, OTHER)] for k in (1, 2))
    assert prints("summarise", name, files[0]) == f"{one[0]}\n"
    both = f"{files[0]}\t{one[0]}\n{files[1]}\t{one[1]}\n"
    assert prints("summarise", name, *files) == both
    assert prints("summarise", name, files[1], "--words", 9) == f"{two[1]}\n"
    typed(TEXT)
    assert prints("summarise", name, "--sentences", 2) == f"{two[0]}\n"


def test_empty_texts_and_what_is_no_text(files, prints, fails, tmp_path):
    contents = {"empty": b"", "blank": b" \n", "dots": b"...\n", "binary": b"%PDF\0"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    empty, blank, dots, binary = (tmp_path / name for name in contents)
    printed = prints("summarise", "lead", files[0], empty, blank)
    assert printed.splitlines()[1:] == [f"{empty}\t", f"{blank}\t"]
    assert prints.noted == f"minillm: 2 of 3 texts are empty, first {empty}\n"
    printed = prints("summarise", "lead", files[0], dots, status=2)
    assert printed.splitlines()[1:] == [f"{dots}\t"]
    assert prints.noted == f"minillm: {dots}: expected a text with words, found none\n"
    for path in (empty, blank, dots):
        line = fails("summarise", "lead", path)
        assert f"{path}: expected a text with words, found none" in line
    assert "a binary file" in fails("summarise", "lead", files[0], binary)
    assert "there is no such file" in fails("summarise", "lead", files[0], tmp_path / "none")
    assert "--words: expected a whole number from 1" in fails("summarise", "lead", "--words", 0)


def test_a_chat_model(chat, files, prints):
    expected = chat.summarise([TEXT.strip(), OTHER.strip()], words=4)
    assert all(0 < len(summary.split()) <= 4 for summary in expected)
    assert prints("summarise", chat.path, files[0], "--words", 4) == f"{expected[0]}\n"
    shown = "".join(f"{p}\t{s}\n" for p, s in zip(files, expected, strict=True))
    assert prints("summarise", chat.path, *files, "--words", 4) == shown
    assert prints.noted == ""
    assert chat.summarise(TEXT.strip(), words=4) == expected[0]


def test_what_a_chat_model_leaves_out_is_told(chat, prints, tmp_path):
    long = tmp_path / "long.txt"
    long.write_text(TEXT * 12)
    prints("summarise", chat.path, long, "--words", 3)
    assert prints.noted.startswith(f"minillm: {long}: ")
    assert "tokens are read: more do not fit the context" in prints.noted
    with pytest.warns(UserWarning, match=r"^text 1: its first \d+ tokens are read"):
        chat.summarise(TEXT * 12, words=3)
    with pytest.raises(InputError, match=r"^text 1: expected a text, found an empty one"):
        chat.summarise("")
    with pytest.warns(UserWarning, match=r"^text 2: expected a text, found an empty one"):
        assert chat.summarise([TEXT, ""], words=2)[1] == ""


def test_what_cannot_summarise(chat, fails, runs, files):
    assert "expected a run with a chat template" in fails("summarise", runs("gpt"), files[0])
    assert "or gpt or chat or " in fails("summarise", runs("lm"), files[0])
    assert "did you mean summarise?" in fails("summarize", runs("lm"))
    for options, message in (
        ({"words": 0}, "words: expected a whole number from 1"),
        ({"sentences": "one"}, "sentences: expected"),
        ({"beams": 3}, r"beams: there is no such setting.*beam"),
        ({"no_repeat": 3}, "no_repeat: expected a run that was trained on pairs"),
    ):
        with pytest.raises(InputError, match=message):
            chat.summarise(TEXT, **options)


def test_a_run_of_pairs(runs, prints, tmp_path):
    run = minillm.load(runs("summariser"))
    texts = ["one two three", "five", "", "two " * 500]
    files = [tmp_path / name for name in "abcd"]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    known = run.summarise([text for text in texts if text], report=lambda line: None)
    known.insert(2, "")
    shown = [f"{file}\t{summary}" for file, summary in zip(files, known, strict=True)]
    assert prints("summarise", run.path, *files).splitlines() == shown
    assert prints.noted.splitlines() == [
        "minillm: 1 of 3 texts are cut to 400 tokens",
        f"minillm: 1 of 4 texts are empty, first {files[2]}",
    ]
    for line in prints("summarise", run.path, *files, "--words", 1).splitlines():
        assert len(line.split("\t")[1].split()) <= 1


def test_a_summary_is_one_line_and_stays_when_the_rest_is_stopped(chat, prints, files, monkeypatch):
    def stopped(run, texts, **options):
        if texts:
            yield "first\nof \r\ntwo lines"
            raise KeyboardInterrupt

    monkeypatch.setattr(type(chat), "summaries", stopped)
    printed = prints("summarise", chat.path, *files, status=130)
    assert printed == f"{files[0]}\tfirst of two lines\n"
    assert prints.noted == "minillm: stopped\n"
