"""Questions made of docstrings."""

import ast

import pytest

from minillm.data import docstring_questions
from minillm.data.docstring_questions import (
    MOST_QUESTIONS,
    DocstringQuestions,
    pages_of,
    questions_about,
    spans_of,
)

SOURCE = '''
def open_json(path, mode='r', *, limit: int = 100, **options):
    """Read an object from a file.

    Parameters
    ----------
    path : str or Path
        The file to read.  It is closed afterwards.
    limit : int, optional
        How many bytes to read
        at most.

    Examples
    --------
    What is the default of nothing here?
    """

class Reader:
    """A reader of files that are very large, which are read one line at a time only."""

    def size(file, follow=True):
        """Return the size of a file in bytes.

        It is that of what a link stands for, unless the link itself is asked for by the caller.
        """

    def _own(self, a=1):
        """A name that begins with an underscore is not public, however long its docstring is."""

def short(a=1):
    """Too short."""
'''


@pytest.fixture(scope="module")
def pages():
    return {page.name: page for page in pages_of(ast.parse(SOURCE))}


def test_pages(pages):
    assert set(pages) == {"open_json", "size"}
    assert pages["open_json"].text.startswith("open_json(path, mode='r', limit=100)\n\nRead an")
    assert pages["open_json"].text.endswith("at most.")


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (
            "open_json",
            [
                ("default", "mode", "'r'"),
                ("default", "limit", "100"),
                ("type", "path", "str or Path"),
                ("purpose", "path", "The file to read"),
                ("type", "limit", "int"),
                ("purpose", "limit", "How many bytes to read\n    at most"),
            ],
        ),
        ("size", [("default", "follow", "True"), ("returns", "", "the size of a file in bytes")]),
    ],
)
def test_spans(pages, page, expected):
    text = pages[page].text
    spans = [(kind, name, text[start:end]) for kind, name, start, end in spans_of(pages[page])]
    assert spans == expected


def test_questions_are_templates_with_answers_at_their_places(pages):
    for page in pages.values():
        questions = questions_about(page, "module")
        assert 0 < len(questions) <= MOST_QUESTIONS
        assert questions_about(page, "module") == questions
        for question in questions:
            [answer] = question.answers
            end = answer.start + len(answer.text)
            assert question.context[answer.start : end] == answer.text
            assert question.question.endswith("?")


def test_parts_share_no_module(monkeypatch):
    tree = ast.parse(SOURCE)

    def modules():
        for number in range(30):
            own = ast.parse(SOURCE.replace("size of a file", f"size {number} of a file"))
            yield f"module{number}", own if number else tree

    monkeypatch.setattr(docstring_questions, "parsed_modules", modules)
    parts = DocstringQuestions().parts
    names = {part: {q.id.split(".")[0] for q in own} for part, own in parts.items()}
    assert [len(names[part]) for part in ("training", "validation", "test")] == [24, 3, 3]
    assert len(set().union(*names.values())) == 30
