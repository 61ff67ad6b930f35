"""The pages of ``minillm look`` in the book: docs/machinery/looks.py."""

import json
import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS / "machinery"))

import looks  # noqa: E402  (the line above says where it is)
from svgs import beside_page  # noqa: E402

NAMES = sorted(looks.LOOKS)


def test_each_model_is_in_the_gallery_and_four_are_in_chapters():
    shown = [
        (path.parent.name, name)
        for path in DOCS.glob("*/*.md")
        for name in re.findall(r"\{look\} look-(.+)", path.read_text())
    ]
    assert sorted(name for folder, name in shown if folder == "appendices") == NAMES
    assert sorted(name for folder, name in shown if folder == "chapters") == [
        *("bert", "gpt", "lstm", "translator")
    ]


def test_the_pages_are_small_and_ask_for_nothing(tmp_path):
    looks.write_all(tmp_path)
    assert sorted(path.stem for path in tmp_path.glob("*.html")) == NAMES
    for path in tmp_path.glob("*.html"):
        page = path.read_text()
        assert len(page.encode()) < 150_000
        assert not re.search(r"\bfetch\(|XMLHttpRequest|<link|\bsrc=|@import|https?://", page)


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_has_a_title_and_a_picture_that_stands_for_it(name):
    markup = beside_page(DOCS / "pictures" / f"look-{name}.svg", "a < b")
    kept = json.loads((DOCS / "outputs/look" / f"{name}.json").read_text())
    assert kept["name"] == looks.LOOKS[name][0]
    frame, _, still = markup.partition('<div class="still">')
    assert f'src="../look/{name}.html" title="A look inside {kept["name"]}" loading="lazy"' in frame
    assert f'<a class="reference" href="../look/{name}.html">' in frame
    assert 'aria-label="a &lt; b"' in still


def test_the_captions_have_the_sizes_of_the_models():
    sizes = {name: looks.LOOKS[name][2] for name in NAMES}
    pages = " ".join(
        " ".join(path.read_text().split())
        for path in DOCS.glob("*/*.md")
        if "{look}" in path.read_text()
    )
    assert f"An LSTM of {sizes['lstm']['hidden']} units" in pages
    assert (sizes["gpt"]["layers"], sizes["gpt"]["heads"]) == (3, 4)
    assert "three blocks of four heads" in pages
    assert sizes["translator"]["layers"] == 2
    assert "two blocks on each side" in pages
