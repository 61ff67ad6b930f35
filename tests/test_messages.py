"""Rules for all messages and documents."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_nothing_names_a_distribution_of_the_package_index():
    """There, minillm is another project."""
    files = [*ROOT.glob("minillm/**/*.py"), *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    assert len(files) > 50
    wrong = re.compile(r"install\s+(-\S+\s+)*['\"]?minillm\b")
    found = [str(path) for path in files if wrong.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_an_error_says_what_was_expected_and_what_was_found():
    """One phrase for one thing: not "must be"."""
    wrong = re.compile(r"Error\(\s*f?\"[^\"]*\bmust\b[^\"]*\"")
    messages = {
        str(path): wrong.findall(path.read_text(encoding="utf-8"))
        for path in ROOT.glob("minillm/**/*.py")
    }
    assert {path: found for path, found in messages.items() if found} == {}
