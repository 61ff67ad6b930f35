"""Questions made of docstrings."""

import ast

import pytest

from minillm.data import docstring_questions
from minillm.data.docstring_questions import (
    LONGEST_PAGE,
    MOST_QUESTIONS,
    DocstringQuestions,
    pages_of,
    questions_about,
    sentences,
    spans_of,
)

SOURCE = '''
def open_json(path, mode='r', *, limit: int = 100, **options):
    """Read an object from a file.

    Parameters
    ----------
    path : str or Path
        The file to read, e.g. a configuration.  It is closed afterwards.
    limit, most : int, optional
        How many bytes to read
        at most.
    options

    Returns
    -------
    values : dict
        What stands in the file.

    Examples
    --------
    What is the default of nothing here?
    """

def size(file, follow=True):
    """Return the size of a file in bytes.

    It is that of what a link stands for, unless the link itself is asked for by the caller.

    file -- the file or its name
    follow: whether links are followed
    other: this is no parameter
    """

class Reader:
    """A reader of files that are very large, which are read one line at a time only."""

    def __init__(self, file, size=-1):
        pass

    def next_line(self):
        """The next line.  Returns an empty text at the end of the file, whatever the mode is."""

    def _own(self, a=1):
        """What begins with an underscore is nobody's business, however long its docstring is."""

def short(a=1):
    """Too short."""

add_newdoc("numpy.core", "array", """
    array(object, dtype=None, /, *, order='K')
    --

    Create an array of anything that looks like one, of a sequence for instance, or of a number.
    """)
add_newdoc("numpy.core", "ndarray", ("fill", """
    a.fill(value)

    Fill the array with a scalar value, which is cast to the type of the array beforehand.
    """))
add_newdoc("numpy.core", "made", "up" + text)
'''


@pytest.fixture(scope="module")
def pages():
    return {page.name: page for page in pages_of("module", ast.parse(SOURCE))}


def test_pages(pages):
    assert list(pages) == [
        "open_json", "size", "Reader", "Reader.next_line", "array", "ndarray.fill",
    ]  # fmt: skip
    assert pages["open_json"].text.startswith(
        "open_json(path, mode='r', *, limit: int=100, **options)\n\nRead an object from a file.\n"
    )
    assert pages["open_json"].text.endswith("What stands in the file.")
    assert pages["open_json"].defaults == {"path": None, "mode": "'r'", "limit": "100"}
    assert pages["Reader"].text.startswith("Reader(self, file, size=-1)\n\nA reader of files")
    assert pages["array"].text.startswith("array(object, dtype=None, /, *, order='K')\n\nCreate an")
    assert pages["ndarray.fill"].text.startswith("ndarray.fill(value)\n\nFill the array")


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (
            "open_json",
            [
                ("default", "mode", "'r'"),
                ("default", "limit", "100"),
                ("type", "path", "str or Path"),
                ("purpose", "path", "The file to read, e.g. a configuration"),
                ("type", "limit", "int"),
                ("purpose", "limit", "How many bytes to read\n    at most"),
                ("type", "most", "int"),
                ("purpose", "most", "How many bytes to read\n    at most"),
                ("returns", "", "What stands in the file"),
            ],
        ),
        (
            "size",
            [
                ("default", "follow", "True"),
                ("returns", "", "the size of a file in bytes"),
                ("purpose", "file", "the file or its name"),
                ("purpose", "follow", "whether links are followed"),
            ],
        ),
        ("Reader", [("default", "size", "-1")]),
        (
            "Reader.next_line",
            [("returns", "", "an empty text at the end of the file, whatever the mode is")],
        ),
        ("array", [("default", "dtype", "None"), ("default", "order", "'K'")]),
        ("ndarray.fill", []),
    ],
)
def test_what_is_asked(pages, page, expected):
    text = pages[page].text
    found = [(kind, name, text[start:end]) for kind, name, start, end in spans_of(pages[page])]
    assert found == expected


def test_questions_are_templates_with_answers_at_their_places(pages):
    for page in pages.values():
        questions = questions_about(page)
        assert len(questions) <= MOST_QUESTIONS
        assert questions_about(page) == questions
        for question in questions:
            [answer] = question.answers
            end = answer.start + len(answer.text)
            assert question.context[answer.start : end] == answer.text
            assert question.question.endswith("?")
            assert "{" not in question.question
            name = question.id.split()[-1]
            assert name in question.question or page.name in question.question
    assert len({q.id for page in pages.values() for q in questions_about(page)}) >= 12


def test_long_pages_and_answers(pages):
    long = "word " * 3000
    source = f'def f(a=1):\n    """Return {long}\n\n{long * 2}"""\n'
    [page] = pages_of("m", ast.parse(source.replace("word word", "word\n    word")))
    assert len(page.text.split("\n\n", 1)[1].split()) == LONGEST_PAGE
    assert [q.id for q in questions_about(page)] == ["m.f: default a"]
    empty = 'def f(a=(), b=\'\'):\n    """' + "word " * 20 + '"""\n'
    [page] = pages_of("m", ast.parse(empty))
    assert questions_about(page) == []  # their answers have no word


def test_sentences():
    text = "One, e.g. this.  Two?\nThree\n\nfour."
    assert [text[a:b] for a, b in sentences(text, 0, len(text))] == [
        "One, e.g. this", "Two", "Three", "four",
    ]  # fmt: skip


def test_the_split_is_by_module(monkeypatch):
    def modules():
        for number in range(30):
            source = SOURCE.replace("a file", f"file number {number}")
            yield f"module_{number}", ast.parse(source)

    monkeypatch.setattr(docstring_questions, "parsed_modules", modules)
    data = DocstringQuestions()
    parts = {part: data.questions(part) for part in ("training", "validation", "test")}
    modules_of = {p: {q.id.split(".")[0] for q in qs} for p, qs in parts.items()}
    assert len(modules_of["validation"]) == len(modules_of["test"]) == 3
    assert len(set.union(*modules_of.values())) == sum(map(len, modules_of.values())) == 30
    pages = [{q.context for q in qs} for qs in parts.values()]
    assert len(set.union(*pages)) == sum(map(len, pages))
    again = DocstringQuestions()
    assert again.parts == data.parts


def test_the_set_of_this_machine():
    """Whatever the versions of Python and NumPy are."""
    data = DocstringQuestions()
    sizes = {part: len(data.questions(part)) for part in ("training", "validation", "test")}
    assert sizes["training"] > 3000
    assert min(sizes.values()) > 100
    pages = [{q.context for q in data.questions(part)} for part in sizes]
    assert len(set.union(*pages)) == sum(map(len, pages))
    kinds = {q.id.partition(": ")[2].split()[0] for q in data.questions("training")}
    assert kinds == {"default", "type", "purpose", "returns"}
    for question in data.questions("test"):
        [answer] = question.answers
        assert question.context.startswith(answer.text, answer.start)
