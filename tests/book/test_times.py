"""The times in the boxes are sums of the exercises' minutes, and the frame has all its parts."""

import re
from fractions import Fraction
from pathlib import Path

import pytest

from minillm.exercises import exercises

DOCS = Path(__file__).parents[2] / "docs"
CHAPTERS = sorted((DOCS / "chapters").glob("*.md"))
TIME = r"\*\*Time:\*\* (\d+) minutes of reading, ([\d½]+) hours with the exercises"
PAPER_AND_EXPERIMENT = 30
FRACTIONS = {"": Fraction(0), "¼": Fraction(1, 4), "½": Fraction(1, 2), "¾": Fraction(3, 4)}
PARTS = (range(6), range(6, 10), range(10, 15), range(15, 19), range(19, 23))


def hours(text: str) -> Fraction:
    """The number that a text such as 2½ says."""
    whole, fraction = re.fullmatch(r"(\d+)([¼½¾]?)", text).groups()
    return int(whole) + FRACTIONS[fraction]


def times(path: Path) -> tuple[int, Fraction]:
    """The minutes of reading and the hours with exercises that the box of a chapter says."""
    (found,) = re.findall(TIME, " ".join(path.read_text().split()))
    return int(found[0]), hours(found[1])


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_hours_of_a_chapter_are_the_sum_of_its_parts(path):
    reading, said = times(path)
    own = [each.minutes for each in exercises().values() if each.chapter == int(path.stem[:2])]
    total = reading + sum(own) + PAPER_AND_EXPERIMENT
    assert abs(60 * said - total) <= 15, f"{total} minutes"


def test_the_table_of_the_parts_sums_the_boxes_of_their_chapters():
    rows = re.findall(r"\| ([\d¼½¾]+) h \| ([\d¼½¾]+) h \|$", (DOCS / "index.md").read_text(), re.M)
    boxes = [times(path) for path in CHAPTERS]
    for part, (reading, with_exercises) in zip(PARTS, rows, strict=True):
        assert abs(60 * hours(reading) - sum(boxes[n][0] for n in part)) <= 15
        assert hours(with_exercises) == sum(boxes[n][1] for n in part)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_drills_a_bug_and_transfers_in_this_order(path):
    titles = re.findall(r"^```\{exercise\} (.*)", path.read_text(), re.M)
    kinds = [next((k for k in ("Find", "Transfer") if t.startswith(k)), "Drill") for t in titles]
    assert kinds == sorted(kinds, key=("Drill", "Find", "Transfer").index)
    assert kinds.count("Drill") >= 2
    assert kinds.count("Find") == 1
    assert kinds.count("Transfer") == 2
