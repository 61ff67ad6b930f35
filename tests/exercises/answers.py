"""Right answers to the exercises, and wrong ones with their hints: chapterNN.txt in this folder.

A file has a part for each exercise, under its name.  Lines that begin with "=" fill the holes, in
their order; indented lines go on with such a line.  A wrong answer replaces one of these lines:

    HOLE: the wrong text  ## a part of the message or of a hint
    HOLE: old -> new && old -> new  ## the same, where only parts of it differ
"""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Answer:
    """An answer to an exercise."""

    exercise: str
    right: list[str] = field(default_factory=list)
    wrong: list[tuple[int, str, str]] = field(default_factory=list)

    def filled(self, source: str, number: int = -1, text: str = "") -> str:
        """The source with its holes filled, one of them by another text."""
        pieces = source.split("...\n")
        lines = [text if k == number else line for k, line in enumerate(self.right)]
        if len(pieces) != len(lines) + 1:
            raise ValueError(f"{self.exercise}: {len(lines)} lines for {len(pieces) - 1} holes")
        return pieces[0] + "".join(
            line + "\n" + piece for line, piece in zip(lines, pieces[1:], strict=True)
        )

    def add_wrong(self, hole: int, text: str, hint: str) -> None:
        """Keep a wrong answer: the text, or the right one with parts replaced."""
        if " -> " in text:
            edits, text = text.replace(r"\n", "\n").split(" && "), self.right[hole]
            for old, new in (edit.split(" -> ") for edit in edits):
                if old not in text:
                    raise ValueError(f"{self.exercise}: hole {hole} has no {old!r}")
                text = text.replace(old, new)
        self.wrong.append((hole, text, hint))


def read(path: Path) -> list[Answer]:
    """The answers of a chapter."""
    found: list[Answer] = []
    for line in path.read_text().splitlines():
        if line.startswith("["):
            found.append(Answer(line.strip("[]")))
        elif line.startswith("= "):
            found[-1].right.append(line[2:])
        elif line.startswith("    ") and found[-1].wrong:
            hole, text, hint = found[-1].wrong.pop()
            found[-1].wrong.append((hole, f"{text}\n{line}", hint))
        elif line.startswith("    "):
            found[-1].right[-1] += "\n" + line
        elif line:
            hole, _, rest = line.partition(": ")
            found[-1].add_wrong(int(hole), *rest.rsplit("  ## ", 1))
    return found


ANSWERS = [answer for path in sorted(Path(__file__).parent.glob("*.txt")) for answer in read(path)]
