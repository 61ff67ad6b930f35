"""The milestones: the kept run's table and picture, and the story so far in the chapters."""

import re
import subprocess
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
    "04-predicting": ["neural-n-gram"],
    "07-recurrence": ["rnn"],
    "08-gates": ["lstm", "gru"],
    "14-gpt": ["gpt"],
    "22-today": ["qwen3", "qwen3-ngrams"],
    "25-recurrence-returns": ["min-gru", "mamba"],
}
AHEAD = {"lstm", "qwen3-ngrams"}  # of counting: the sentences below the tables say so
RECORDS = {record["name"]: record for record in so_far.results()["models"]}
BITS = {name: record["bits_per_character"] for name, record in RECORDS.items()}
NETWORKS = {name for name in RECORDS if "curve" in RECORDS[name]}
BEST = min(RECORDS.keys() - NETWORKS, key=BITS.get)  # of the n-grams


def up_to(page: str) -> list[str]:
    """The models of the chapters up to a page."""
    return [name for chapter, names in STORY.items() if chapter <= page for name in names]


def test_the_story_has_the_first_and_the_best_n_gram_and_all_networks():
    assert set(up_to("99")) == NETWORKS | {"1-gram", BEST}
    assert {name for name in RECORDS if BITS[name] < BITS[BEST]} == AHEAD


def test_the_section_is_above_the_summary_of_the_chapters_of_models():
    section = r"^## The story so far\n.*?^```\{so-far\} (.*)\n```$(?:(?!^##).)*?^## Summary$"
    pages = {path.stem: path.read_text() for path in (DOCS / "chapters").glob("*.md")}
    found = {name: re.findall(section, text, re.M | re.S) for name, text in pages.items()}
    assert {name: names[0].split() for name, names in found.items() if names} == STORY
    assert sum(text.count("{so-far}") for text in pages.values()) == len(STORY)


@pytest.mark.parametrize("page", STORY)
def test_a_chapter_has_the_models_up_to_it_with_the_figures_of_the_kept_run(page):
    text, run = so_far.text(STORY[page]), so_far.results()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    for row, name in zip(rows[2:], up_to(page), strict=True):
        bold = "**" if name in STORY[page] else ""
        figures = [f"{bold}{name}{bold}", f"{bold}{BITS[name]:.3f}{bold}"]
        assert [row[0], *row[2:]] == [*figures, f"{RECORDS[name]['weights']:,}"]
        number, label = re.fullmatch(r"\{ref\}`(\d+) <([\w-]+)>`", row[1]).groups()
        (path,) = (DOCS / "chapters").glob(f"{int(number):02}-*.md")
        assert f"({label})=\n# {number} " in path.read_text()
    assert path.stem == page  # of the last row
    (samples,) = re.findall(r"```text\n(.*)\n```", text, re.S)
    assert [line.split(maxsplit=1) for line in samples.splitlines()] == [
        [name, RECORDS[name]["sample"]] for name in up_to(page)
    ]
    assert f"trained for {run['minutes']:g} minutes ({run['machine']})" in text
    cells = "\n".join(cell.source for cell in notebook(DOCS / "chapters" / f"{page}.md").cells)
    assert rows[-1][-1] in cells
    assert samples in cells


@pytest.mark.parametrize("page", STORY)
def test_the_picture_has_grown_by_the_curves_of_the_chapter(page):
    if not (networks := NETWORKS & {*up_to(page)}) and page == "01-counting":
        assert so_far.grown(STORY[page]) == ""
        return
    svg = ElementTree.fromstring(so_far.grown(STORY[page]))
    groups = {group.get("id", ""): group for group in svg.iter("{http://www.w3.org/2000/svg}g")}
    parts = [match.groups() for key in groups if (match := re.match("(.*)-(line|name)$", key))]
    assert sorted(parts) == sorted((name, part) for name in networks for part in ("line", "name"))
    pale = {name for name in networks if groups[f"{name}-line"].get("opacity")}
    assert pale == networks - set(STORY[page])
    words = so_far.alternative(STORY[page])
    assert all(f"{name} {BITS[name]:.2f}" in words for name in networks)
    assert "".join(svg.itertext()).count("10-gram") == 1


@pytest.mark.deep
def test_the_tables_and_the_picture_are_those_of_the_kept_runs(tmp_path):
    """Words of the picture are compared: another matplotlib may place its lines in another way."""
    pytest.importorskip("matplotlib")
    script = DOCS / "pictures/milestones.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    kept = {path.name: path.read_text() for path in (DOCS / "outputs").glob("milestones-*.md")}
    assert kept == {path.name: path.read_text() for path in tmp_path.glob("*.md")}
    page = (DOCS / "appendices/milestones.md").read_text()
    assert re.findall(r"outputs/(\S+\.md)", page) == [
        f"milestones-{text}-5.md" for text in ("builtin", "shakespeare")
    ]
    words = [
        re.findall(r"<text[^>]*>([^<]*)</text>", (folder / "milestones.svg").read_text())
        for folder in (tmp_path, DOCS / "pictures")
    ]
    assert words[0] == words[1]
    assert set(words[0]) >= NETWORKS
