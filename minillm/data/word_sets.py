"""Data sets for evaluating word vectors: pairs of words with people's scores, and analogies."""

from collections.abc import Iterator

from minillm.data.lines import read_lines
from minillm.errors import InputError

ScoredPair = tuple[str, str, float]
Analogy = tuple[str, str, str, str]


def read_scored_pairs(path: str) -> list[ScoredPair]:
    """Pairs of words with a score, such as WordSim-353 (Finkelstein et al. 2002).

    A line has two words and a number between tabs, commas or spaces; lines with # are comments,
    and the first line may be a heading.  InputError, with the line's number, for any other line.
    """
    pairs: list[ScoredPair] = []
    for place, line in _lines(path):
        if line.startswith("#"):
            continue
        fields = line.replace(",", " ").split()
        try:
            pairs.append((fields[0], fields[1], float(fields[2])))
        except (IndexError, ValueError):
            if pairs:  # otherwise it is the heading
                raise InputError(
                    f"{place}: expected two words and a score, found {line[:60]!r}"
                ) from None
    if not pairs:
        raise InputError(f"{path}: expected lines of two words and a score, found none")
    return pairs


def read_analogies(path: str) -> dict[str, list[Analogy]]:
    """Analogies by section: lines of four words, after a line ": name" for each section.

    The format is the one of questions-words.txt (Mikolov et al. 2013).  InputError, with the line's
    number, for any other line.
    """
    sections: dict[str, list[Analogy]] = {}
    name = "questions"
    for place, line in _lines(path):
        if line.startswith(":"):
            name = line[1:].strip()
            continue
        fields = line.split()
        if len(fields) != 4:
            raise InputError(f"{place}: expected four words, found {line[:60]!r}")
        a, b, c, d = fields
        sections.setdefault(name, []).append((a, b, c, d))
    if not sections:
        raise InputError(f"{path}: expected lines of four words, found none")
    return sections


def _lines(path: str) -> Iterator[tuple[str, str]]:
    """The lines of a text file that are not blank: place for error messages, line."""
    for line, place in read_lines(path):
        if line.strip():
            yield place, line.strip()
