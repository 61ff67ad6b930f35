"""How long reading takes, and the core path: the sections that docs/core-path.md leads through.

    python docs/machinery/reading.py

writes the times into the boxes of the chapters, into the table of docs/index.md and into
docs/core-path.md.  A reader takes a minute for 60 words; a formula counts as its signs.  Code is
not counted, nor are the exercises, which have times of their own.  A section of the core path has
a mark in the margin; one with a label is not a part of the section above it.
"""

import re
from functools import cache
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
PATH = DOCS / "core-path.md"
WORDS_A_MINUTE = 60
PAPER_AND_EXPERIMENT = 30  # minutes: the derivation on paper, and the experiment
UNREAD = re.compile(
    r"^(?P<fence>`{3,})\{(?:code-cell|dropdown)\}.*?^(?P=fence)$|^:[\w-]+:[^\n]*$", re.M | re.S
)
LABELLED = re.compile(r"^\((?P<label>[\w-]+)\)=\n(?P<level>#+) ", re.M)
STEP = re.compile(r"(?<=<)(?P<label>[\w-]+)>` \((?P<minutes>\d+)\)")
EXERCISE = re.compile(r"`(?P<name>[\w-]+)` \((?P<minutes>\d+)\)")
BOX = re.compile(r"\*\*Time:\*\*\s+(\d+)\s+minutes\s+of\s+reading,\s+([\d½]+)\s+hours")


def minutes(text: str) -> float:
    """The minutes that reading a text takes."""
    return len(UNREAD.sub("", text).split()) / WORDS_A_MINUTE


def chapter_minutes(page: Path) -> float:
    """The same of a chapter up to its exercises."""
    return minutes(page.read_text().split("\n---\n", 1)[1].split("\n## Exercises\n")[0])


def section_minutes() -> dict[str, float]:
    """The same of each section with a label; of a chapter's, what is before the next section."""
    found = {}
    for page in (DOCS / "chapters").glob("*.md"):
        text = UNREAD.sub("", page.read_text())
        for match in LABELLED.finditer(text):
            level = max(2, len(match["level"]))
            end = re.compile(rf"^#{{2,{level}}} |^\([\w-]+\)=$", re.M).search(text, match.end())
            found[match["label"]] = minutes(text[match.end() : end and end.start()])
    return found


@cache
def core() -> list[str]:
    """The labels of the sections of the core path."""
    return [match["label"] for match in STEP.finditer(PATH.read_text())]


def write(path: Path, text: str) -> None:
    """Write a page that has changed."""
    if text != path.read_text():
        path.write_text(text)
        print(path.relative_to(DOCS))


def halves(total: float, unit: int = 30) -> str:
    """Minutes as hours, such as 2½, rounded to half hours or to quarters."""
    whole, rest = divmod(round(total / unit), 60 // unit)
    return f"{whole}{['', '¼', '½', '¾'][rest * unit // 15]}"


def main() -> None:
    # Whoever only builds the book needs no exercise.
    from minillm.exercises import exercises

    known = exercises()
    for page in sorted((DOCS / "chapters").glob("*.md")):
        reading = 5 * round(chapter_minutes(page) / 5)
        tasks = sum(e.minutes for e in known.values() if e.chapter == int(page.stem[:2]))
        total = halves(reading + tasks + PAPER_AND_EXPERIMENT)
        box = f"**Time:** {reading} minutes of reading, {total} hours"
        write(page, BOX.sub(box, page.read_text()))
    index = (DOCS / "index.md").read_text()
    for part in re.findall(r"\n((?:chapters/.+\n)+)```", index):
        pages = [(DOCS / f"{page}.md").read_text() for page in part.split()]
        times = [BOX.search(page).groups() for page in pages]
        said = sum(60 * float(hours.replace("½", ".5")) for _, hours in times)
        reading = halves(sum(int(each) for each, _ in times), 15)
        label = re.search(r"\((\S+)\)=", pages[-1])[1]
        row = rf"(<{label}>` \|) .*? \| .*? \|"
        index = re.sub(row, rf"\1 {reading} h | {halves(said)} h |", index)
    write(DOCS / "index.md", index)
    found, text = section_minutes(), PATH.read_text()
    text = STEP.sub(lambda m: f"{m['label']}>` ({max(1, round(found[m['label']]))})", text)
    write(PATH, EXERCISE.sub(lambda m: f"`{m['name']}` ({known[m['name']].minutes})", text))


if __name__ == "__main__":
    main()
