"""The story so far: each chapter of models has its own models and those before them, measured."""

import base64
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS / "machinery"))

import so_far  # noqa: E402  (the line above says where it is)
from notebooks import notebook  # noqa: E402

STORY = {
    "01-counting": ["1-gram"],
    "02-smoothing": ["10-gram"],
    "03-predicting": ["neural-n-gram"],
    "06-recurrence": ["rnn"],
    "07-gates": ["lstm", "gru"],
    "12-gpt": ["gpt"],
    "19-today": ["qwen3", "qwen3-ngrams"],
    "22-recurrence-returns": ["min-gru", "mamba"],
}
AHEAD = {"lstm", "qwen3-ngrams"}  # of counting: the sentences below the tables say so
RECORDS = {record["name"]: record for record in so_far.results()["models"]}


def up_to(page: str) -> list[str]:
    """The models of the chapters up to a page."""
    return [name for chapter, names in STORY.items() if chapter <= page for name in names]


def test_the_story_has_the_first_and_the_best_n_gram_and_all_networks():
    told = up_to("99")
    assert {name for name in told if "curve" in RECORDS[name]} == {
        name for name, record in RECORDS.items() if "curve" in record
    }
    counted = {name for name in RECORDS if "curve" not in RECORDS[name]}
    best = min(counted, key=lambda name: RECORDS[name]["bits_per_character"])
    assert [name for name in told if name in counted] == ["1-gram", best]


def test_the_networks_that_the_chapters_call_ahead_of_counting_are():
    bits = {name: record["bits_per_character"] for name, record in RECORDS.items()}
    best = min(value for name, value in bits.items() if "curve" not in RECORDS[name])
    assert {name for name, value in bits.items() if value < best} == AHEAD


def test_the_section_is_above_the_summary_of_the_chapters_of_models():
    found = {}
    for path in sorted((DOCS / "chapters").glob("*.md")):
        text = path.read_text()
        if sections := re.findall(r"^## The story so far\n(.*?)^## ([^\n]*)$", text, re.M | re.S):
            ((section, after),) = sections
            (names,) = re.findall(r"^```\{so-far\} (.*)\n```$", section, re.M)
            found[path.stem] = names.split()
            assert after == "Summary"
        else:
            assert "{so-far}" not in text
    assert found == STORY


@pytest.mark.parametrize("page", STORY)
def test_a_chapter_names_the_models_up_to_it_with_the_figures_of_the_kept_run(page):
    text = so_far.text(STORY[page])
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    mark = {name: "**" if name in STORY[page] else "" for name in up_to(page)}
    assert [[row[0], *row[2:]] for row in rows[2:]] == [
        [
            f"{bold}{name}{bold}",
            f"{bold}{RECORDS[name]['bits_per_character']:.3f}{bold}",
            f"{RECORDS[name]['weights']:,}",
        ]
        for name, bold in mark.items()
    ]
    (samples,) = re.findall(r"```text\n(.*)\n```", text, re.S)
    assert [line.split(maxsplit=1) for line in samples.splitlines()] == [
        [name, RECORDS[name]["sample"]] for name in up_to(page)
    ]
    run = so_far.results()
    assert f"trained for {run['minutes']:g} minutes ({run['machine']})" in text


@pytest.mark.parametrize("page", STORY)
def test_the_chapter_is_linked(page):
    links = re.findall(r"\{ref\}`(\d+) <([\w-]+)>`", so_far.text(STORY[page]))
    for number, label in links:
        (path,) = (DOCS / "chapters").glob(f"{int(number):02}-*.md")
        assert f"({label})=\n# {number} " in path.read_text()
    assert int(links[-1][0]) == int(page[:2])


@pytest.mark.parametrize("page", [page for page in STORY if page > "02"])
def test_the_picture_has_grown_by_the_curves_of_the_chapter(page):
    svg = ElementTree.fromstring(so_far.grown(STORY[page]))
    groups = {group.get("id", ""): group for group in svg.iter("{http://www.w3.org/2000/svg}g")}
    parts = [match.groups() for key in groups if (match := re.match("(.*)-(line|name)$", key))]
    networks = {name for name in up_to(page) if "curve" in RECORDS[name]}
    assert sorted(parts) == sorted((name, part) for name in networks for part in ("line", "name"))
    pale = {name for name in networks if groups[f"{name}-line"].get("opacity")}
    assert pale == networks - set(STORY[page])
    words = so_far.alternative(STORY[page])
    for name in networks:
        assert f"{name} {RECORDS[name]['bits_per_character']:.2f}" in words
    assert "".join(svg.itertext()).count("10-gram") == 1


def test_the_first_chapter_has_no_picture():
    assert so_far.grown(["1-gram"]) == ""


@pytest.mark.parametrize("page", STORY)
def test_the_notebook_has_the_same(page):
    cells = "\n".join(cell.source for cell in notebook(DOCS / "chapters" / f"{page}.md").cells)
    section = cells[cells.index("## The story so far") : cells.index("## Summary")]
    for name in up_to(page):
        assert f"| {RECORDS[name]['weights']:,} |" in section
        assert RECORDS[name]["sample"] in section
    pictures = re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", section)
    assert [base64.b64decode(picture).decode() for picture in pictures] == list(
        filter(None, [so_far.grown(STORY[page])])
    )
