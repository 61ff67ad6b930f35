"""Every command that the book and the README show is one that the program understands."""

from pathlib import Path

from minillm.cli.arguments import command_line
from minillm.errors import InputError

from .commands import commands_of

HERE = Path(__file__).parents[2]
PAGES = [HERE / "README.md", *sorted((HERE / "docs").rglob("*.md"))]
PAGES += sorted((HERE / "docs/outputs").glob("*.txt"))


def fault(arguments: list[str]) -> str:
    """What the program says of the arguments, or nothing."""
    try:
        command_line().parse_args(arguments)
    except InputError as error:
        return str(error)
    except SystemExit as end:  # --help, --version
        return "" if not end.code else f"exit status {end.code}"
    return ""


def is_a_form(arguments: list[str]) -> bool:
    """Whether a command has places to fill in by the reader: a variable, dots, a KIND."""
    return any("$" in word or "..." in word or word in ("KIND", "VERB") for word in arguments)


def test_the_program_understands_each_command():
    commands = [(page, *command) for page in PAGES for command in commands_of(page)]
    assert len(commands) > 100
    faults = [
        f"{page.relative_to(HERE)}:{line}: minillm {' '.join(arguments)}: {what}"
        for page, line, arguments in commands
        if not is_a_form(arguments) and (what := fault(arguments))
    ]
    assert not faults, "\n".join(faults)


def test_commands_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "minillm is a program\n"
        "\n"
        "    mpiexec -n 2 minillm train lm a.txt --out r  # two\n"
        "    MINILLM_KERNELS=numpy minillm info | less\n"
        "\n"
        "```console\n"
        "$ echo 'a | b' | minillm translate runs/mt > out.txt\n"
        "$ minillm train \\\n"
        "    lm --out r\n"
        "minillm: an error\n"
        "```\n"
        "\n"
        "```{code-cell}\n"
        "!minillm info\n"
        "x = 'minillm info'\n"
        "```\n"
    )
    assert list(commands_of(page)) == [
        (3, ["train", "lm", "a.txt", "--out", "r"]),
        (4, ["info"]),
        (7, ["translate", "runs/mt"]),
        (8, ["train", "lm", "--out", "r"]),
        (14, ["info"]),
    ]


def test_what_the_program_does_not_understand_is_told():
    for arguments in ("train lm --no-such-option 3", "no-such-verb", "train lm --steps x"):
        assert fault(arguments.split())
