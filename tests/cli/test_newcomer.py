"""What a newcomer meets: help, hints, limits, and short answers."""

import json
import re

import pytest

import minillm
from minillm.cli import main
from minillm.runs.kind import kinds
from minillm.runs.settings import types_of

VERBS = {
    "generate": ["x"],
    "translate": ["x"],
    "answer": ["x", "--context", "x"],
    "eval": ["x"],
    "similar": ["x"],
    "analogy": ["x"],
    "plot words": ["x"],
    "plot attention": ["x", "y"],
    "gradcheck": [],
    "curve": ["x", "--out", "y"],
    "plan": [],
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
        "answer": ("--n-best",),
        "eval": ("--beam",),
        "similar": ("--count",),
        "analogy": ("--count",),
        "plot words": ("--count",),
        "plot attention": ("--beam",),
        "gradcheck": ("--seeds",),
        "curve": ("--seeds",),
        "plan": ("--layers", "--vocabulary", "--batch", "--ranks"),
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
        (["export"], "expected DIR, found none"),
        (["similar"], "expected DIR and WORD, found none"),
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
        *(
            [verb]
            for verb in [
                "generate",
                "translate",
                "classify",
                "answer",
                "eval",
                "similar",
                "analogy",
            ]
        ),
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


# --- after a training ------------------------------------------------------------------------

LEARNABLE = "the cat sat on the mat and the dog sat on the log.\n" * 60
SMALL = ["--hidden", "16", "--batch", "4"]


@pytest.fixture
def data(tmp_path):
    """A file for each kind."""
    pairs = "".join(f"{'ab' * (1 + k % 3)}\t{'xy' * (1 + k % 3)}\n" for k in range(60))
    labelled = "".join(
        f"{('good', 'bad')[k % 2]}\t{('fine', 'rain')[k % 2]} {k}\n" for k in range(60)
    )
    for name, text in (("lm", LEARNABLE), ("seq2seq", pairs), ("classifier", labelled)):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "enough"),
    [
        ("lm", ["--embedding", "8", "--window", "16", "--steps", "150", "--learning-rate", "0.02"]),
        ("seq2seq", ["--unit", "character", "--steps", "150", "--learning-rate", "0.02"]),
        ("classifier", ["--steps", "100", "--learning-rate", "0.02"]),
    ],
)
def test_a_model_that_has_hardly_learnt_is_said_to_be_so(kind, enough, data, capsys):
    hardly = "the model has hardly learnt yet: guessing by frequency alone has a loss of "
    command = ["train", kind, str(data / kind), *SMALL, "--out"]
    assert main([*command, str(data / "a"), "--steps", "1", "--learning-rate", "1e-6"]) == 0
    printed = capsys.readouterr().out
    assert printed.count(hardly) == 1
    assert sum(hardly in line for line in printed.splitlines()) == 1
    assert main([*command, str(data / "b"), *enough]) == 0
    assert hardly not in capsys.readouterr().out


def test_a_captioner_that_has_hardly_learnt(tmp_path, capsys):
    pytest.importorskip("sklearn")
    command = ["train", "captioner", "--out", str(tmp_path / "run"), "--hidden", "8"]
    assert main([*command, "--steps", "1"]) == 0
    assert "the model has hardly learnt yet" in capsys.readouterr().out


def test_samples_are_short(data, capsys):
    for kind, lines in (("lm", 12), ("seq2seq", 10)):
        command = ["train", kind, str(data / kind), *SMALL, "--out", str(data / "run")]
        assert main([*command, "--steps", "20", "--overwrite"]) == 0
        printed = capsys.readouterr().out
        sample = printed[printed.index("sample:" if kind == "lm" else "held-out examples") :]
        assert len(sample.splitlines()) <= lines
        assert len(sample) < 600


def test_long_examples_are_cut(tmp_path, capsys):
    pairs = "".join(f"{'word ' * 60}\t{'mot ' * 50}\n" for _ in range(20))
    (tmp_path / "pairs").write_text(pairs)
    command = ["train", "seq2seq", str(tmp_path / "pairs"), "--out", str(tmp_path / "run")]
    assert main([*command, *SMALL, "--steps", "1"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) < 200
    assert "mot [...]" in printed


def test_runs_of_a_few_steps_can_be_compared(data, capsys):
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        command = ["train", "lm", str(data / "lm"), *SMALL, "--out", str(data / name)]
        assert main([*command, "--steps", "2", "--validations", "1"]) == 0
    config = json.loads((data / "a" / "config.json").read_text())
    assert config["unit"] == "character"
    (validation,) = [
        record
        for line in (data / "a" / "metrics.jsonl").read_text().splitlines()
        if "validation_loss" in (record := json.loads(line))
    ]
    assert validation["seconds"] >= 0
    capsys.readouterr()
    picture = str(data / "both.png")
    assert main(["plot", "loss", str(data / "a"), str(data / "b"), "--to", picture]) == 0
    assert capsys.readouterr().out == f"{picture}\n"
