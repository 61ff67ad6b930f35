"""The glossary is in alphabetical order, and the chapter of each term contains it."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
GLOSSARY = (DOCS / "appendices" / "glossary.md").read_text()
ENTRY = re.compile(r"^(\S.*)\n  (.+) \(\{ref\}`chapter (\w+) <([\w-]+)>`\)\.$", re.MULTILINE)


def test_each_term_is_in_its_place_and_in_its_chapter():
    entries = ENTRY.findall(GLOSSARY)
    terms = [term for term, *_ in entries]
    assert len(terms) == GLOSSARY.count("{ref}`chapter ") > 100
    assert terms == sorted(set(terms), key=lambda term: term.casefold().replace("-", " "))
    chapters = {}
    for path in (DOCS / "chapters").glob("*.md"):
        text = path.read_text()
        label, number = re.search(r"^\((\S+)\)=\n# (\w+) ", text, re.MULTILINE).groups()
        chapters[label, number] = " ".join(text.casefold().split())
    assert not [
        (term, number)
        for term, _, number, label in entries
        if term.casefold() not in chapters.get((label, number), "")
    ]
