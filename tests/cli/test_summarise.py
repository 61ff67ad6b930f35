"""``minillm summarise``, ``Run.summarise`` and ``Run.summaries``."""

import io
import sys

import chatting
import pytest

import minillm
from minillm.cli import main
from minillm.errors import InputError
from minillm.models.extractive import lead, textrank

TEXT = "The cat sat on the mat. The dog saw the cat. Then it rained.\n"
OTHER = "A log fell.\nA dog sat on the log. The dog slept.\n"
TINY = ["--batch", "8", "--minimum-count", "1", "--steps", "3"]
RECURRENT = ["--hidden", "8", "--embedding", "6"]
SIZES = {
    "seq2seq": RECURRENT,
    "summariser": RECURRENT,
}


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return chatting.save(tmp_path_factory.mktemp("chat") / "run", context=320)


@pytest.fixture(scope="module", params=[*SIZES])
def trained(request, tmp_path_factory):
    """A run that was trained on pairs."""
    folder = tmp_path_factory.mktemp(request.param)
    pairs = folder / "pairs.tsv"
    words = ("cat", "dog", "log", "mat")
    rows = [f"the {a} saw the {b} on the mat . it sat\t{a} saw {b}\n" for a in words for b in words]
    pairs.write_text("".join(rows))
    command = ["train", request.param, str(pairs), "--out", str(folder / "run"), *TINY]
    assert main([*command, *SIZES[request.param], "--max-source", "8"]) == 0
    return folder / "run"


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path, text in zip(paths, (TEXT, OTHER), strict=True):
        path.write_text(text)
    return paths


@pytest.fixture
def printed(capsys):
    """Run a command that must succeed, and return its output and its notes."""

    def run(*command, status=0):
        capsys.readouterr()
        assert main(["summarise", *map(str, command)]) == status
        output = capsys.readouterr()
        return output.out, output.err

    return run


def typed(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


# --- methods without training --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "choose"), [("lead", lead), ("textrank", textrank)])
def test_extracts(name, choose, files, printed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # the word is not this folder
    one, two = ([" ".join(choose(text, k)) for text in (TEXT, OTHER)] for k in (1, 2))
    assert printed(name, files[0]) == (f"{one[0]}\n", "")
    assert printed(name, *files)[0] == f"{files[0]}\t{one[0]}\n{files[1]}\t{one[1]}\n"
    assert printed(name, files[0], "--sentences", 2)[0] == f"{two[0]}\n"
    assert printed(name, files[1], "--words", 9)[0] == f"{two[1]}\n"
    typed(monkeypatch, TEXT)
    assert printed(name, "--sentences", 2)[0] == f"{two[0]}\n"


def test_empty_texts_and_what_is_no_text(printed, files, fails, tmp_path):
    (tmp_path / "empty").write_text("")
    (tmp_path / "blank").write_text(" \n")
    (tmp_path / "dots").write_text("...\n")
    (tmp_path / "binary").write_bytes(b"%PDF\0")
    out, err = printed("lead", *(tmp_path / name for name in ("a.txt", "empty", "blank")))
    assert out.splitlines()[1:] == [f"{tmp_path / 'empty'}\t", f"{tmp_path / 'blank'}\t"]
    assert err == f"minillm: 2 of 3 texts are empty, first {tmp_path / 'empty'}\n"
    out, err = printed("lead", *(tmp_path / name for name in ("a.txt", "dots")), status=2)
    assert out.splitlines()[1:] == [f"{tmp_path / 'dots'}\t"]
    assert err == f"minillm: {tmp_path / 'dots'}: expected a text with words, found none\n"
    for name in ("empty", "blank", "dots"):
        assert f"{name}: expected a text with words, found none" in fails(
            "summarise", "lead", tmp_path / name
        )
    assert "a binary file" in fails("summarise", "lead", files[0], tmp_path / "binary")
    assert "there is no such file" in fails("summarise", "lead", files[0], tmp_path / "none")
    assert "--words: expected a whole number from 1" in fails("summarise", "lead", "--words", 0)


# --- chat models ---------------------------------------------------------------------------------


def test_a_chat_model(chat, files, printed, tmp_path):
    run = minillm.load(chat)
    expected = run.summarise([TEXT.strip(), OTHER.strip()], words=4)
    assert all(0 < len(summary.split()) <= 4 for summary in expected)
    assert printed(chat, files[0], "--words", 4)[0] == f"{expected[0]}\n"
    out, err = printed(chat, *files, "--words", 4)
    assert out == "".join(f"{p}\t{s}\n" for p, s in zip(files, expected, strict=True))
    assert err == ""
    assert run.summarise(TEXT.strip(), words=4) == expected[0]


def test_a_long_text_is_announced(chat, printed, tmp_path):
    (tmp_path / "long.txt").write_text(TEXT * 12)
    _, err = printed(chat, tmp_path / "long.txt", "--words", 3)
    assert err.startswith(f"minillm: {tmp_path / 'long.txt'}: ")
    assert "tokens are read: more do not fit the context" in err
    with pytest.warns(UserWarning, match=r"^text 1: its first \d+ tokens are read"):
        minillm.load(chat).summarise(TEXT * 12, words=3)


def test_texts_without_a_summary_in_python(chat):
    run = minillm.load(chat)
    with pytest.raises(InputError, match=r"^text 1: expected a text, found an empty one"):
        run.summarise("")
    with pytest.warns(UserWarning, match=r"^text 2: expected a text, found an empty one"):
        assert run.summarise([TEXT, ""], words=2)[1] == ""
    assert run.summarise([]) == []
    assert [type(one) for one in run.summaries([TEXT, " "], words=2)] == [str, InputError]


def test_what_cannot_summarise(chat, fails, gpt, lm, files):
    assert "expected a run with a chat template" in fails("summarise", gpt, files[0])
    assert "or gpt or chat or " in fails("summarise", lm, files[0])
    assert "did you mean summarise?" in fails("summarize", lm)
    run = minillm.load(chat)
    for options, message in (
        ({"words": 0}, "words: expected a whole number from 1"),
        ({"sentences": "one"}, "sentences: expected"),
        ({"beams": 3}, r"beams: there is no such setting.*beam"),
        ({"no_repeat": 3}, "no_repeat: expected a run that was trained on pairs"),
    ):
        with pytest.raises(InputError, match=message):
            run.summarise(TEXT, **options)


# --- runs of pairs -------------------------------------------------------------------------------


def test_a_run_of_pairs(trained, printed, tmp_path):
    run = minillm.load(trained)
    texts = ["the cat saw the log on the mat", "the dog sat", "the mat " * 9]
    options = {"length_exponent": 1.5, "no_repeat": 2, "no_repeat_window": 4, "least": 1}
    known = [best[0].text for best in run.hypotheses(texts, beam=4, **options)]
    assert run.summarise(texts, report=lambda line: None) == known
    assert run.summarise(texts[:1], beam=1) == [run.translate(texts[0], beam=1, **options)]
    files = [tmp_path / name for name in "abcd"]
    for file, text in zip(files, [*texts[:2], "", texts[2]], strict=True):
        file.write_text(text)
    out, err = printed(trained, *files)
    shown = zip(files, [*known[:2], "", known[2]], strict=True)
    assert out.splitlines() == [f"{file}\t{summary}" for file, summary in shown]
    assert err.splitlines() == [
        "minillm: 1 of 3 texts are cut to 8 tokens",
        f"minillm: 1 of 4 texts are empty, first {files[2]}",
    ]
    out, _ = printed(trained, *files, "--words", 1)
    assert all(len(line.split("\t")[1].split()) <= 1 for line in out.splitlines())


# --- output --------------------------------------------------------------------------------------


def test_each_summary_is_one_line_and_stays_when_the_rest_is_stopped(
    chat, printed, files, monkeypatch
):
    def stopped(run, texts, **options):
        if texts:
            yield "first\nof \r\ntwo lines"
            raise KeyboardInterrupt

    monkeypatch.setattr(type(minillm.load(chat)), "summaries", stopped)
    out, err = printed(chat, *files, status=130)
    assert out == f"{files[0]}\tfirst of two lines\n"
    assert err == "minillm: stopped\n"
