"""The course kit names exercises that exist, and all chapters of its longest syllabus."""

import re
from pathlib import Path

from minillm.exercises import exercises

DOCS = Path(__file__).parents[2] / "docs"
COURSE = (DOCS / "appendices" / "course.md").read_text()
WEEKS = re.findall(r"^\| \d+ \| (\{ref\}.*?|one of .*?) \| (.*?) \|", COURSE, re.MULTILINE)


def test_the_syllabi_name_exercises_that_exist():
    assert len(WEEKS) == 6 + 10 + 14
    named = {name for _, cell in WEEKS for name in re.findall(r"`([\w-]+)`", cell)}
    assert not named - set(exercises())


def test_the_longest_syllabus_has_every_chapter():
    labels = {path.read_text().split("(")[1].split(")=")[0] for path in DOCS.glob("chapters/*.md")}
    named = {label for cell, _ in WEEKS[-14:] for label in re.findall(r"<([\w-]+)>", cell)}
    assert labels <= named
