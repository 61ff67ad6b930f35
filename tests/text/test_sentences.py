"""The ends of sentences: what ends one, what does not, and what is never lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.text.sentences import sentences

WORDS = st.sampled_from(
    """Hi a The etc. U.S. Mr. end. why? "Go!" (no.) ... . 3.5 2. J. i.e. * - [1] # " x
    No.""".split()
)
TEXTS = st.lists(st.one_of(WORDS, st.sampled_from([" ", "\n", "\n\n"]))).map(" ".join)


@pytest.mark.parametrize(
    "text",
    [
        "One. | Two! | Three? | Four … | Five",
        "Really?! | Yes!!! | no.",
        # Abbreviations
        "Mr. The met Mrs. Will. | They talked, e.g. The Times, vs. Them.",
        "She works at Acme Inc. in Ohio. | He left Acme Inc. | We stayed at Bell Corp. Labs.",
        "Bring pens, paper, etc. and ink. | Bring pens, etc. | Please do.",
        "In the U.S. Senate. | From the U.S. | They came at 3 p.m. on Dec. 11 by bus.",
        "Smith et al. (2016) and Gong et al. [3] disagree with Wu et al. | However, we agree.",
        "A non-U.S. company with a Ph.D. student (i.e. me, w.r.t. him).",
        # Initials, and a letter that is none
        "J. R. R. Tolkien met David M. Becker. | It is in Exhibit C. | I can get it.",
        "It grows with n. | Forward is harder.",
        # Numbers
        "It costs 3.14 or 1,000.50. | No. 5 is alive. | I said no. | Then I left.",
        "See Fig. 2, Eq. (3) and vol. 7. | It was in 2010. | 25 came.",
        "There are two: 1. Rent a trailer. | 2. Buy a car.",
        "It is in the order, RM01-11. | So it was.",
        # Quotation marks, brackets, footnotes, the marks of Markdown
        '"Why?" he asked. | "Because," she said. | "Go." | He went.',
        "(They knew.) | He said so (did he?) and left. | “So.” | It is.[1][2] | **Bold.** | Next.",
        # Texts without capitals
        "i will call. | thanks",
        "can you come? | i think so! | we go on... and on. | well. . . yes",
        # A mark that stands by itself
        "the cat sat . | the dog , too . | hi ! | and so on . . . | The end .",
        "A point. | * Another point. | - A third.",
        "a 'Yahoo!' user",
    ],
)
def test_ends_in_a_line(text):
    expected = text.split(" | ")
    assert sentences(" ".join(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t\n", []),
        ("...\n----\n* * *", []),
        ("a line\nthat goes on\n\nanother", ["a line that goes on", "another"]),
        ("one\r\n\r\ntwo\r\nlines", ["one", "two lines"]),
        ("Title\n=====\ntext\n", ["Title", "text"]),
        ("text\n## A heading\ntext", ["text", "## A heading", "text"]),
        (
            "buy:\n- milk\n  and tea\n- ink\n(a) b\n12. c",
            ["buy:", "- milk and tea", "- ink", "(a) b", "12. c"],
        ),
    ],
)
def test_lines(text, expected):
    assert sentences(text) == expected


@given(TEXTS)
def test_no_word_is_lost_and_spaces_are_single(text):
    found = sentences(text)
    assert [c for s in found for c in s if c.isalnum()] == [c for c in text if c.isalnum()]
    for sentence in found:
        assert sentence == " ".join(sentence.split())
        assert any(c.isalnum() for c in sentence)


@given(TEXTS, TEXTS)
def test_a_blank_line_ends_a_sentence(one, other):
    assert sentences(f"{one}\n\n{other}") == sentences(one) + sentences(other)


@given(
    st.lists(st.sampled_from(["Mr.", "end.", "The", "etc.", "x", "why?"]), min_size=1), st.data()
)
def test_a_line_may_be_wrapped_anywhere(words, data):
    ends = [data.draw(st.sampled_from([" ", "\n", "  \n "])) for _ in words]
    wrapped = "".join(word + end for word, end in zip(words, ends, strict=True))
    assert sentences(wrapped) == sentences(" ".join(words))
