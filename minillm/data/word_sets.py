"""Data sets for evaluating word vectors: pairs of words with people's scores, and analogies."""

from minillm.data.lines import read_lines
from minillm.errors import InputError, short

ScoredPair = tuple[str, str, float]
Analogy = tuple[str, str, str, str]


def read_scored_pairs(path: str) -> list[ScoredPair]:
    """Pairs of words with a score, such as WordSim-353 (Finkelstein et al. 2002).

    A line has two words and a number between tabs, commas or spaces; lines with # are comments,
    and the first line may be a heading.  InputError, with the line's number, for any other line.
    """
    pairs: list[ScoredPair] = []
    for line, place in read_lines(path):
        fields = line.replace(",", " ").split()
        if not fields or line.startswith("#"):
            continue
        try:
            pairs.append((fields[0], fields[1], float(fields[2])))
        except (IndexError, ValueError):
            if pairs:  # otherwise it is the heading
                raise InputError(
                    f"{place}: expected two words and a score, found {short(line.strip())}"
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
    for line, place in read_lines(path):
        fields = line.split()
        if line.startswith(":"):
            name = line[1:].strip()
        elif len(fields) == 4:
            sections.setdefault(name, []).append((fields[0], fields[1], fields[2], fields[3]))
        elif fields:
            raise InputError(f"{place}: expected four words, found {short(line.strip())}")
    if not sections:
        raise InputError(f"{path}: expected lines of four words, found none")
    return sections
