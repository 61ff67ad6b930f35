"""The form of a test of an exercise: right lines, and wrong ones with their hints."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """An answer to an exercise.

    ``right`` replaces the holes in their order.  Each of ``wrong`` replaces one of these lines by
    another: (number of the hole, the wrong text, a part of the message or of a hint).
    """

    exercise: str
    right: Sequence[str]
    wrong: Sequence[tuple[int, str, str]]

    def filled(self, source: str, number: int = -1, text: str = "") -> str:
        """The source with its holes filled, one of them by another text."""
        pieces = source.split("...\n")
        lines = [text if k == number else line for k, line in enumerate(self.right)]
        if len(pieces) != len(lines) + 1:
            raise ValueError(f"{self.exercise}: {len(lines)} lines for {len(pieces) - 1} holes")
        return pieces[0] + "".join(
            line + "\n" + piece for line, piece in zip(lines, pieces[1:], strict=True)
        )
