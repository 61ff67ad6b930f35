"""A newcomer's first steps: help, hints, limits, and short answers."""

import io
import re
import sys

import pytest
from tiny import TEXT

import minillm
from minillm.cli import main
from minillm.cli.arguments import VERBS, verb
from minillm.errors import ELSEWHERE, InputError
from minillm.option import make, option_of, types_of
from minillm.runs.kind import TITLES, find_kind, kinds


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
        main([*command])
    return capsys.readouterr().out


# --- limits ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(kinds()))
def test_every_number_among_the_settings_has_limits(name):
    settings = kinds()[name].settings
    for field, (type_, _, _) in types_of(settings).items():
        if type_ is int and not option_of(settings, field).choices:
            for number in (10**30, -(10**30)):
                with pytest.raises(InputError, match=f"{field}: expected"):
                    make(settings, {field: number})


@pytest.mark.parametrize(
    ("command", "options"),
    {
        "train lm --out x": ("--hidden", "--batch"),
        "generate x": ("--length", "--top-k", "--seed"),
        "translate x": ("--beam", "--n-best"),
        "answer x --context x": ("--n-best",),
        "eval x": ("--beam",),
        "fill x y": ("--top",),
        "similar x": ("--count",),
        "analogy x": ("--count",),
        "plot words x": ("--count",),
        "plot attention x y": ("--layer", "--head"),
        "gradcheck": ("--seeds",),
    }.items(),
)
def test_absurd_numbers_are_refused_in_one_line(command, options, capsys):
    for option in options:
        for text in ("1" + "0" * 30, "1" + "0" * 5000, "-" + "9" * 30):
            message = refused(capsys, *command.split(), option, text)
            assert f"{option}: expected a whole number from " in message
            assert re.search(r"\(see minillm .* --help\)", message)


# --- terminals ------------------------------------------------------------------------


def test_vectors_are_not_written_to_a_terminal(runs, fails, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a line\n"))
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True, raising=False)
    assert "--to: expected the name of a file: a terminal cannot" in fails("embed", runs("bert"))


# --- help and hints ------------------------------------------------------------------------


def test_without_a_verb_there_is_help(capsys):
    assert main([]) == 1
    output = capsys.readouterr()
    assert output.out.startswith("usage: minillm ")
    assert "  minillm generate runs/first " in output.out
    assert output.err == ""
    assert max(map(len, output.out.splitlines())) <= 100


def test_the_version(capsys):
    assert helped(capsys, "--version") == f"minillm {minillm.__version__}\n"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["generat", "x"], "VERB: expected one of .*; did you mean generate\\?"),
        (["train", "seqseq"], "KIND: expected one of .*; did you mean seq2seq\\?"),
        (["train"], "expected KIND, found none \\(see minillm train --help\\)"),
        (["plot"], "expected PICTURE, found none"),
        (["generate"], "expected DIR, found none"),
        (["similar"], "expected DIR, found none"),
        (["eval", "x", "--jsom"], "no option '--jsom'; did you mean --json\\?.* minillm eval --he"),
        (["train", "lm", "--out", "x", "--steps=3", "--hiden=4"], "'--hiden'; .* --hidden.* lm"),
        (["generate", "x", "y"], "no further argument, found 'y' \\(see minillm gen"),
        (["chat", "x", "y"], "expected no further argument, found 'y' \\(see minillm chat"),
        (["train", "lm", "--out", "x", "--cell", "lstn"], "--cell: expected one .* mean lstm\\?"),
        (["x" * 1000], "VERB: expected one of .*; found 'x"),
        (["train\nlm"], "VERB: expected one of .*; found 'train"),
    ],
)
def test_an_error_is_one_line_with_a_hint(command, expected, capsys):
    assert re.search(expected, refused(capsys, *command))


@pytest.mark.parametrize(
    ("command", "elsewhere", "here"),
    [
        ("train gpt --out x", "--lr", "--learning-rate"),
        ("train gpt --out x", "--learning_rate", "--learning-rate"),
        ("train gpt --out x", "--block_size=64", "--context"),
        ("train lm --out x", "--block-size", "--window"),
        ("train gpt --out x", "--max-iters", "--steps"),
        ("train gpt --out x", "--n_layer", "--layers"),
        ("train gpt --out x", "--n_head", "--heads"),
        ("train gpt --out x", "--n-embd", "--width"),
        ("train lm --out x", "--n-embd", "--hidden"),
        ("train gpt --out x", "--num_train_epochs", "--epochs"),
        ("train gpt --out x", "--batch-size", "--batch"),
        ("generate x", "--max_new_tokens", "--length"),
        ("train word2vec", "--output_dir", "--out"),
    ],
)
def test_an_option_of_another_program_is_understood_but_not_accepted(
    command, elsewhere, here, capsys
):
    message = refused(capsys, *command.split(), elsewhere, "1")
    name = elsewhere.partition("=")[0]
    assert f"there is no option '{name}'; did you mean {here}? (see " in message


def test_names_of_elsewhere_lead_to_names_that_exist():
    options = {field for kind in kinds().values() for field in types_of(kind.settings)}
    options |= {"length", "out"}
    for name, here in ELSEWHERE.items():
        assert set(here.split()) <= options, name
    assert len(ELSEWHERE) <= 10


def test_a_verb_has_the_title_of_its_page():
    for name, title in VERBS.items():
        assert verb(name).__doc__.splitlines()[0] == f"{title}."


def test_kinds_stand_in_the_order_of_their_years():
    assert list(TITLES) == sorted(TITLES, key=lambda name: TITLES[name][-5:])
    assert all(find_kind(name).name == name for name in TITLES)


@pytest.mark.parametrize(
    ("command", "abilities"),
    {
        "translate": ["hypotheses"],
        "answer": ["answers"],
        "embed": ["embed"],
        "fill": ["fill"],
        "export": ["export"],
        "similar": ["vectors", "embed"],
    }.items(),
)
def test_a_help_page_names_all_kinds_that_are_able(command, abilities, capsys):
    page = " ".join(helped(capsys, *command.split(), "--help").partition("DIR  ")[2].split())
    for name, kind in kinds().items():
        if any(hasattr(kind, ability) for ability in abilities):
            assert name.replace("finetuned", "fine-tuned") in page.partition(" -")[0], name


def pages():
    """Every help page as the words of its command."""
    yield []
    for name in VERBS:
        yield [name]
    for kind in kinds():
        yield ["train", kind] if kind != "finetuned" else ["finetune"]
    for picture in ("loss", "words", "attention"):
        yield ["plot", picture]


@pytest.mark.parametrize("command", list(pages()), ids=" ".join)
def test_a_help_page_fits_and_teaches(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80" if command == ["train", "gpt"] else "100")
    page = helped(capsys, *command, "--help")
    lines = page.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith(" ".join(["usage: minillm", *command]))
    assert lines[1] == ""  # the usage is one line
    if command not in (["train"], ["plot"]):
        assert " ".join(["  minillm", *command]) in page
    assert "METAVAR" not in page
    assert not re.search(r"^  (VERB|KIND|PICTURE)$", page, re.MULTILINE)


@pytest.mark.parametrize("name", list(kinds()))
def test_rare_options_are_on_the_page_of_all(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    command = ["train", name] if name != "finetuned" else ["finetune"]
    pages = [helped(capsys, *command, option) for option in ("--help", "--help-all")]
    settings = kinds()[name].settings
    for field in types_of(settings):
        declared = option_of(settings, field)
        flag = f"\n  --{field.replace('_', '-')} "
        if not declared.positional:
            shown, in_all = (flag in re.sub(r"(?m)$", " ", page) for page in pages)
            assert in_all
            assert shown is not declared.rare
    assert ("--help-all" in pages[0]) is any(
        option_of(settings, field).rare for field in types_of(settings)
    )
    assert "--help-all" not in pages[1]


def test_kinds_are_listed_with_their_years(capsys):
    page = helped(capsys, "train", "--help")
    assert re.search(r"\n  word2vec +Word vectors: skip-gram or CBOW \(2013\)\n", page)


# --- after a training ------------------------------------------------------------------------

SMALL = ["--hidden", "16", "--batch", "4"]


@pytest.fixture
def data(tmp_path):
    """A file for each kind."""
    pairs = "".join(f"{'ab' * (1 + k % 3)}\t{'xy' * (1 + k % 3)}\n" for k in range(60))
    for name, text in (("lm", TEXT), ("seq2seq", pairs)):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "enough"),
    [
        ("lm", ["--embedding", "8", "--window", "16", "--steps", "80", "--learning-rate", "0.02"]),
        ("seq2seq", ["--unit", "character", "--steps", "80", "--learning-rate", "0.02"]),
    ],
)
def test_a_model_that_has_hardly_learnt_is_said_to_be_so(kind, enough, data, capsys):
    barely = "the model has barely learned: always predicting by frequency gives a loss of "
    command = ["train", kind, str(data / kind), *SMALL, "--out"]
    assert main([*command, str(data / "a"), "--steps", "1", "--learning-rate", "1e-6"]) == 0
    printed = capsys.readouterr().out
    assert printed.count(barely) == 1
    assert sum(barely in line for line in printed.splitlines()) == 1
    assert main([*command, str(data / "b"), *enough]) == 0
    assert barely not in capsys.readouterr().out


def test_samples_are_short(data, capsys):
    for kind, lines in (("lm", 30), ("seq2seq", 10)):
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


# --- pairs of rare words ---------------------------------------------------------------------


def rare_pairs(path):
    """Pairs of words that occur once: the target is the source, spelled backwards."""
    lines = []
    for k in range(100, 200):
        source = f"a{k}b"
        lines.append(f"say {source}\ttold {source[::-1]}\n")
    path.write_text("".join(lines))
    return str(path)


UNKNOWN = "unknown words in the validation pairs: 50.0% in the sources, 50.0% in the targets"
PAIR_SIZES = {
    "seq2seq": ["--hidden", "8", "--embedding", "6"],
    "transformer": ["--width", "8", "--heads", "2", "--layers", "1", "--feed-forward", "8"],
}


@pytest.mark.parametrize("kind", PAIR_SIZES)
def test_rare_words_are_announced_with_the_units_that_have_none(kind, tmp_path, capsys, evaluated):
    path = rare_pairs(tmp_path / "pairs.tsv")
    command = ["train", kind, path, "--steps", "1", *PAIR_SIZES[kind], "--out"]
    assert main([*command, str(tmp_path / "words")]) == 0
    advice = "the model cannot write them; --unit character or bpe has none\n"
    assert f"{UNKNOWN}: {advice}" in capsys.readouterr().out
    assert minillm.load(tmp_path / "words").target.unit == "word"
    assert evaluated(tmp_path / "words")["unknown_target_words"] == 0.5
    assert main([*command, str(tmp_path / "characters"), "--unit", "character"]) == 0
    assert "unknown" not in capsys.readouterr().out
    assert "unknown_target_words" not in evaluated(tmp_path / "characters")


def test_a_few_unknown_words_are_only_counted(tmp_path, capsys):
    lines = [f"one two {'three' if k != 58 else 'four'}\tun deux trois\n" for k in range(60)]
    (tmp_path / "pairs.tsv").write_text("".join(lines))
    command = ["train", "seq2seq", str(tmp_path / "pairs.tsv"), "--out", str(tmp_path / "run")]
    assert main([*command, "--steps", "1", *PAIR_SIZES["seq2seq"]]) == 0
    counted = "unknown words in the validation pairs: 5.6% in the sources, 0.0% in the targets\n"
    assert counted in capsys.readouterr().out
    assert minillm.load(tmp_path / "run").target.unit == "word"


# --- texts as arguments ----------------------------------------------------------------------


def test_a_text_is_classified_where_it_stands(tmp_path, capsys, fails):
    texts = ["a fine day", "rain and wind"] * 20
    run = str(tmp_path / "run")
    options = {"texts": texts, "labels": ["good", "bad"] * 20, "steps": 60, "quiet": True}
    minillm.train("classifier", run, **options)
    for arguments, expected in (
        (["a fine day"], ["good a fine day"]),
        (["fine", "rain"], ["good fine", "bad rain"]),
        (["a fine day\nwind"], ["good a fine day", "bad wind"]),
    ):
        capsys.readouterr()
        assert main(["classify", run, *arguments]) == 0
        rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        assert [f"{label} {text}" for label, _, text in rows] == expected
    assert "lone surrogate" in fails("classify", run, "a \udcff day")
