"""A newcomer's first steps: help, hints, limits, and short answers."""

import io
import re
import sys

import pytest

import minillm
from minillm.cli import main
from minillm.cli.arguments import VERBS, verb
from minillm.errors import ELSEWHERE, INSTEAD, InputError
from minillm.option import make, option_of, types_of
from minillm.runs.kind import TITLES, find_kind, kinds
from minillm.runs.run import ABILITIES


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
        "fill x y": ("--top",),
        "similar x": ("--count",),
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
        (["generate"], "expected DIR, found none"),
        (["eval", "x", "--jsom"], "no option '--jsom'; did you mean --json\\?.* minillm eval --he"),
        (["train", "lm", "--out", "x", "--steps=3", "--hiden=4"], "'--hiden'; .* --hidden.* lm"),
        (["generate", "x", "y"], "no further argument, found 'y' \\(see minillm gen"),
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
        ("train gpt --out x", "--block_size=64", "--context"),
        ("train lm --out x", "--n-embd", "--hidden"),
        ("generate x", "--max_new_tokens", "--length"),
        ("train word2vec", "--output_dir", "--out"),
        ("export x", "--out", "FILE"),
        ("plot words x", "--out", "--to"),
    ],
)
def test_an_option_of_another_program_is_understood_but_not_accepted(
    command, elsewhere, here, capsys
):
    message = refused(capsys, *command.split(), elsewhere, "1")
    name = elsewhere.partition("=")[0]
    assert f"there is no option '{name}'; did you mean {here}? (see " in message


@pytest.mark.parametrize("option", ["--device", "--gpu", "--num_samples", "--out"])
def test_an_option_that_exists_nowhere_here_says_why(option, capsys):
    message = refused(capsys, "eval", "x", option, "1")
    assert f"there is no option '{option}'; {INSTEAD[option[2:]]} (see " in message


@pytest.mark.parametrize("command", ["chat smollm2", "generate llama3.2:1b", "import gpt2 --out z"])
def test_a_published_name_is_not_downloaded(command, fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "; minillm downloads no models: get its files, " in fails(*command.split())
    assert "downloads" not in fails("generate", tmp_path / "gpt")


def test_names_of_elsewhere_lead_to_names_that_exist():
    options = {field for kind in kinds().values() for field in types_of(kind.settings)}
    options |= {"length", "out", "to", "file", *ABILITIES, *VERBS, *minillm.__all__}
    for name, here in ELSEWHERE.items():
        assert set(here.split()) <= options, name
    assert len(ELSEWHERE) <= 18


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
        "similar": ["vectors", "embed"],
    }.items(),
)
def test_a_help_page_names_all_kinds_that_are_able(command, abilities, capsys):
    page = " ".join(helped(capsys, *command.split(), "--help").partition("DIR  ")[2].split())
    for name, kind in kinds().items():
        if any(hasattr(kind.run, ability) for ability in abilities):
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
