"""The tables and the picture of the milestones are those of the kept runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = DOCS / "pictures" / "milestones.py"

pytestmark = pytest.mark.deep


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("made")
    subprocess.run([sys.executable, str(SCRIPT), str(folder)], check=True)
    return folder


def test_each_table_is_that_of_its_run(made):
    kept = {path.name: path.read_text() for path in (DOCS / "outputs").glob("milestones-*.md")}
    assert kept == {path.name: path.read_text() for path in made.glob("*.md")}
    page = (DOCS / "appendices" / "milestones.md").read_text()
    assert re.findall(r"outputs/(milestones-[\w-]+\.md)", page) == [
        f"milestones-{text}-5.md" for text in ("builtin", "shakespeare")
    ]
    assert sorted(kept) == sorted(set(re.findall(r"outputs/(\S+\.md)", page)))


def test_the_picture_is_that_of_the_run(made):
    """Its words are compared, because another matplotlib may place its lines in another way."""
    texts = re.compile(r"<text[^>]*>([^<]*)</text>")
    drawn = (DOCS / "pictures" / "milestones.svg").read_text()
    assert texts.findall(drawn) == texts.findall((made / "milestones.svg").read_text())
    records = json.loads((DOCS / "outputs" / "milestones-builtin-5.json").read_text())["models"]
    named = [record["name"] for record in records if "curve" in record]
    assert set(named) <= set(texts.findall(drawn))
