"""The pages of the book: a table of checks of each chapter, and what the appendices promise."""

import json
import re
import runpy
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path

import nbformat
import pytest

from minillm.exercises import exercises
from minillm.exercises.milestones import MILESTONES

DOCS = Path(__file__).parents[2] / "docs"
CHAPTERS = sorted((DOCS / "chapters").glob("*.md"))
sys.path.insert(0, str(DOCS / "machinery"))

import looks  # noqa: E402  (the line above says where it is)
import reading  # noqa: E402
from exercise_boxes import with_statements  # noqa: E402
from notebooks import EXERCISE, formula_numbers, notebook  # noqa: E402
from svgs import beside_page  # noqa: E402

FRACTIONS = {"": Fraction(0), "¼": Fraction(1, 4), "½": Fraction(1, 2), "¾": Fraction(3, 4)}


def on_one_line(path):
    return " ".join(path.read_text().split())


book = cache(notebook)

# --- the checks of a chapter ---------------------------------------------------------------------


def its_notebook_is_valid_and_needs_no_directive(path, text):
    nbformat.validate(book(path))
    assert "{literalinclude}" not in json.dumps(book(path))
    assert not re.search(r"^[`:]{3,}\{", "\n".join(cell.source for cell in book(path).cells), re.M)


def its_pictures_are_in_the_notebook(path, text):
    shown = re.findall(r"\{(?:picture|interactive|look|so-far)\}", text)
    drawn = json.dumps(book(path)).count("data:image/svg+xml")
    assert drawn == len(shown) - ("{so-far} 1-gram\n" in text)  # the first has no picture


def its_exercises_are_drills_a_bug_and_two_transfers(path, text):
    titles = re.findall(r"^```\{exercise\} (.*)", text, re.M)
    kinds = [next((k for k in ("Find", "Transfer") if t.startswith(k)), "Drill") for t in titles]
    assert kinds == ["Drill"] * (len(kinds) - 3) + ["Find", "Transfer", "Transfer"]
    assert len(kinds) >= 5
    named = [name for name in EXERCISE.findall(text) if name not in MILESTONES]
    assert sorted(named) == sorted(each.name for each in exercises_of(path))
    ends = [each for each in MILESTONES.values() if each.chapter == int(path.stem[:2])]
    assert all(f"## Milestone: {each.title}" in text for each in ends)
    assert all(f"`minillm exercise {each.name}`" in text for each in ends)


def its_boxes_have_statement_level_and_file(path, text):
    boxes = with_statements(text)
    for exercise in exercises_of(path):
        assert exercise.statement in boxes
        assert f"about {exercise.minutes} minutes, in `exercises/{exercise.file}`" in boxes


def its_exercises_end_with_a_derivation_and_an_experiment_whose_answers_fold(path, text):
    (end,) = re.findall(r"^## Exercises$.*(?=^## Sources$)", text, re.M | re.S)
    titles = re.findall(r"^```\{(?:admonition|dropdown)\} ([\w ]+)", end, re.M)
    assert titles == ["On paper", "Solution", "Experiment", "What to expect"]
    for title in ("Solution", "What to expect"):
        assert f"<details><summary>{title}</summary>" in book(path).cells[-1].source


def its_hours_are_the_sum_of_its_parts(path, text):
    said, hours_said = times(path)
    needed = reading.chapter_minutes(path)
    assert abs(said - needed) <= max(5, needed / 10), f"{needed:.0f} minutes: run reading.py"
    total = said + sum(each.minutes for each in exercises_of(path)) + reading.PAPER_AND_EXPERIMENT
    assert abs(60 * hours_said - total) <= 15, f"{total} minutes"


def exercises_of(path):
    return [each for each in exercises().values() if each.chapter == int(path.stem[:2])]


def hours(text):
    """The number that a text such as 2½ says."""
    whole, fraction = re.fullmatch(r"(\d+)([¼½¾]?)", text).groups()
    return int(whole) + FRACTIONS[fraction]


def times(path):
    """The minutes of reading and the hours with exercises that the box of a chapter says."""
    box = r"\*\*Time:\*\* (\d+) minutes of reading, ([\d½]+) hours with the exercises"
    ((minutes, with_exercises),) = re.findall(box, on_one_line(path))
    return int(minutes), hours(with_exercises)


CHECKS = [check for name, check in list(globals().items()) if name.startswith("its_")]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_chapter(path, check):
    check(path, path.read_text())


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_exercise_is_a_cell_that_checks_itself(path, tmp_path, capsys):
    sources = [cell.source for cell in book(path).cells if cell.cell_type == "code"]
    for exercise in exercises_of(path):
        (cell,) = (source for source in sources if exercise.source.rstrip() in source)
        (tmp_path / "cell.py").write_text(cell)
        runpy.run_path(str(tmp_path / "cell.py"))
        failure = "(is wrong at|expected)" if exercise.bugs else "the hole is not filled"
        assert re.match(f"{exercise.name}: .*{failure}", capsys.readouterr().out)


# --- what other pages say of the chapters --------------------------------------------------------


def test_the_table_of_the_parts_sums_the_boxes_of_their_chapters():
    rows = re.findall(r"\| ([\d¼½¾]+) h \| ([\d¼½¾]+) h \|$", (DOCS / "index.md").read_text(), re.M)
    for part, (said, with_exercises) in zip(parts(), rows, strict=True):
        boxes = [times(path) for path in part]
        assert abs(60 * hours(said) - sum(minutes for minutes, _ in boxes)) <= 15
        assert hours(with_exercises) == sum(total for _, total in boxes)


def parts():
    """The chapters of each part, as the list of contents has them."""
    lists = re.findall(r"\n((?:chapters/.+\n)+)```", (DOCS / "index.md").read_text())
    found = [[DOCS / f"{page}.md" for page in pages.split()] for pages in lists]
    assert [path for part in found for path in part] == CHAPTERS
    return found


def test_the_core_path_takes_ten_hours_by_sections_that_exist():
    text, found = reading.PATH.read_text(), reading.section_minutes()
    labels = re.findall(r"\{ref\}`[^`]*<([\w-]+)>`", text.partition("## And then")[0])
    assert labels == reading.core()
    assert {*labels} <= found.keys()
    steps = [int(match["minutes"]) for match in reading.STEP.finditer(text)]
    assert abs(sum(steps) - sum(found[label] for label in labels)) <= 30, "run reading.py"
    tasks = reading.EXERCISE.findall(text)
    assert tasks == [(name, str(exercises()[name].minutes)) for name, _ in tasks]
    assert len(tasks) == 8
    assert abs(sum(steps) + sum(int(each) for _, each in tasks) - 600) <= 30


def test_the_formulas_with_numbers_are_those_that_are_cited():
    cited = {n for path in CHAPTERS for n in re.findall(r"\{eq\}`(.*?)`", path.read_text())}
    assert cited == {*formula_numbers()}


def test_the_syllabi_name_exercises_that_exist_and_the_longest_one_every_chapter():
    course = (DOCS / "appendices/course.md").read_text()
    weeks = re.findall(r"^\| \d+ \| (\{ref\}.*?|one of .*?) \| (.*?) \|", course, re.M)
    assert len(weeks) == 5 + 6 + 10 + 14  # afternoons, then weeks
    assert {name for _, cell in weeks for name in re.findall(r"`([\w-]+)`", cell)} <= {*exercises()}
    labels = {re.search(r"\((\S+)\)=", path.read_text())[1] for path in CHAPTERS}
    assert labels <= {label for cell, _ in weeks[-14:] for label in re.findall(r"<(.*?)>", cell)}


def test_each_term_of_the_glossary_is_in_its_place_and_in_its_chapter():
    glossary = (DOCS / "appendices/glossary.md").read_text()
    entry = r"^(\S[^:\n]*): .+ \(\{ref\}`chapter (\w+) <([\w-]+)>`\)\.$"
    entries = re.findall(entry, glossary, re.M)
    terms = [term for term, *_ in entries]
    assert len(terms) == glossary.count("{ref}`chapter ") > 100
    assert terms == sorted(set(terms), key=lambda term: term.casefold().replace("-", " "))
    chapters = {path.name[:2].lstrip("0") or "0": on_one_line(path).casefold() for path in CHAPTERS}
    for term, number, label in entries:
        assert term.casefold() in chapters[number], term
        assert f"({label})=" in chapters[number], label


def test_the_appendices_are_eight_and_the_manual_has_ten_pages_at_most():
    assert len([*(DOCS / "appendices").glob("*.md")]) <= 8
    assert len([*(DOCS / "manual").glob("*.md")]) <= 10


# --- pages of `minillm look` ---------------------------------------------------------------------

LOOKS = sorted(looks.LOOKS)


def test_each_model_is_in_the_gallery_and_four_are_in_chapters():
    shown = {"appendices": [], "chapters": []}
    for path in DOCS.glob("*/*.md"):
        for name in re.findall(r"\{look\} look-(.+)", path.read_text()):
            shown[path.parent.name].append(name)
    assert sorted(shown["appendices"]) == LOOKS
    assert sorted(shown["chapters"]) == ["bert", "gpt", "lstm", "translator"]


def test_the_pages_of_looks_are_small_and_ask_for_nothing(tmp_path):
    looks.write_all(tmp_path)
    assert sorted(path.stem for path in tmp_path.glob("*.html")) == LOOKS
    for path in tmp_path.glob("*.html"):
        page = path.read_text()
        assert len(page.encode()) < 150_000
        assert not re.search(r"\bfetch\(|XMLHttpRequest|<link|\bsrc=|@import|https?://", page)


@pytest.mark.parametrize("name", LOOKS)
def test_a_frame_has_a_title_and_a_picture_that_stands_for_it(name):
    markup = beside_page(DOCS / "pictures" / f"look-{name}.svg", "a < b")
    title = looks.LOOKS[name][0]
    assert json.loads((DOCS / "outputs/look" / f"{name}.json").read_text())["name"] == title
    frame, _, still = markup.partition('<div class="still">')
    assert f'src="../look/{name}.html" title="A look inside {title}" loading="lazy"' in frame
    assert f'<a class="reference" href="../look/{name}.html">' in frame
    assert 'aria-label="a &lt; b"' in still
