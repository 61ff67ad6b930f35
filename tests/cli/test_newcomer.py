"""What a newcomer meets: help, hints, limits, and short answers."""

import re

import pytest

import minillm
from minillm.cli import main
from minillm.runs.kind import kinds
from minillm.runs.settings import types_of

VERBS = {
    "generate": ["x"],
    "translate": ["x"],
    "eval": ["x"],
    "similar": ["x"],
    "analogy": ["x"],
    "plot words": ["x"],
    "plot attention": ["x", "y"],
    "gradcheck": [],
}


def refused(capsys, *command):
    """The one line of a command that argparse refuses."""
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main([*map(str, command)])
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("minillm: ")
    assert output.err.count("\n") == 1
    assert len(output.err) < 400
    return output.err


def helped(capsys, *command):
    """A help page."""
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    return capsys.readouterr().out


# --- limits ----------------------------------------------------------------------------


def whole_numbers():
    """(command, option, whether it may be a billion) of every option that is a whole number."""
    for name, kind in kinds().items():
        for field, (type_, _, _) in types_of(kind.settings).items():
            if type_ is int:
                wide = field in ("seed", "steps", "minimum_count", "prune")
                yield f"train {name}", f"--{field.replace('_', '-')}", wide
    for verb, options in {
        "generate": ("--length", "--top-k", "--seed"),
        "translate": ("--beam", "--n-best", "--seed"),
        "eval": ("--beam",),
        "similar": ("--count",),
        "analogy": ("--count",),
        "plot words": ("--count",),
        "plot attention": ("--beam",),
        "gradcheck": ("--seeds",),
    }.items():
        for option in options:
            yield verb, option, option == "--seed"


@pytest.mark.parametrize(("command", "option", "wide"), [*whole_numbers()])
def test_absurd_numbers_are_refused_in_one_line(command, option, wide, capsys):
    words = command.split()
    place = VERBS.get(command, ["--out", "x"])
    for number in (10**30, 10**5000, -(10**30), *([] if wide else [10**9])):
        text = str(number) if number < 10**99 else "1" + "0" * 5000
        message = refused(capsys, *words, *place, option, text)
        assert f"{option}: expected a whole number from " in message
        assert f"(see minillm {command} --help)" in message


@pytest.mark.parametrize("exponent", ["1000", "inf", "nan", "-1"])
@pytest.mark.parametrize("command", ["translate", "eval", "plot attention"])
def test_a_length_exponent_has_limits(command, exponent, capsys):
    place = VERBS[command]
    message = refused(capsys, *command.split(), *place, "--length-exponent", exponent)
    assert "expected a number at least 0 and at most 10, found" in message


# --- help and hints ------------------------------------------------------------------------


def test_without_a_verb_there_is_help(capsys):
    assert main([]) == 1
    output = capsys.readouterr()
    assert output.out.startswith("usage: minillm ")
    assert "  minillm generate runs/first " in output.out
    assert output.err == ""


def test_the_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"minillm {minillm.__version__}\n"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["generat", "x"], "VERB: expected one of train, .*; did you mean generate\\?"),
        (["train", "seqseq"], "KIND: expected one of .*; did you mean seq2seq\\?"),
        (["train"], "expected KIND, found none \\(see minillm train --help\\)"),
        (["plot"], "expected PICTURE, found none"),
        (["generate"], "expected DIR, found none"),
        (["export"], "expected DIR and FILE, found none"),
        (["eval", "x", "--jsom"], "no option '--jsom'; did you mean --json\\?.* minillm eval --he"),
        (
            ["train", "lm", "--out", "x", "--steps=3", "--hiden=4"],
            "'--hiden'; .* --hidden.* lm",
        ),
        (["generate", "x", "y"], "expected no further argument, found 'y' \\(see minillm gen"),
        (["train", "lm", "--out", "x", "--cell", "lstn"], "--cell: expected one .* mean lstm\\?"),
        (["x" * 1000], "VERB: expected one of .* found 'x"),
        (["train\nlm"], "VERB: expected one of .* found 'train"),
    ],
)
def test_an_error_is_one_line_with_a_hint(command, expected, capsys):
    assert re.search(expected, refused(capsys, *command))


def pages():
    """Every help page as the words of its command."""
    return [
        [],
        *(["train", *kind] for kind in ([], *([name] for name in kinds()))),
        *([verb] for verb in ["generate", "translate", "classify", "eval", "similar", "analogy"]),
        *([verb] for verb in ["export", "import", "plot", "gradcheck", "info"]),
        *(["plot", picture] for picture in ("loss", "words", "attention")),
    ]


@pytest.mark.parametrize("command", pages(), ids=" ".join)
def test_a_help_page_teaches(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    page = helped(capsys, *command)
    lines = page.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith(" ".join(["usage: minillm", *command]))
    assert lines[1:].index("") == 0  # the usage is one line
    if command not in (["train"], ["plot"]):
        assert " ".join(["  minillm", *command]) in page or command in ([], ["info"])
    assert "METAVAR" not in page
    assert not re.search(r"^  (VERB|KIND|PICTURE)$", page, re.MULTILINE)


def test_kinds_are_listed_with_their_years(capsys):
    page = helped(capsys, "train")
    assert re.search(r"\n  word2vec +word vectors: skip-gram or CBOW \(2013\)\n", page)
