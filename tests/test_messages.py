"""What messages and documents tell people to install."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_nothing_names_a_distribution_of_the_package_index():
    """There, minillm is another project."""
    files = [*ROOT.glob("minillm/**/*.py"), *ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    assert len(files) > 50
    wrong = re.compile(r"install\s+(-\S+\s+)*['\"]?minillm\b")
    found = [str(path) for path in files if wrong.search(path.read_text(encoding="utf-8"))]
    assert found == []
