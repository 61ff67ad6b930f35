"""Every character is what it is for the library tokenizers; its tables are in unicode_tables.json.

make_unicode_tables.py makes them.
"""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from text.make_unicode_tables import FILE, characters_of, reference
from text.make_unicode_tables import TESTED as CHARACTERS

from minillm import use_kernels
from minillm.text.bpe import PATTERNS
from minillm.text.bpe_fast import ends_by, word_ends
from minillm.text.byte_pairs import BytePairs
from minillm.text.wordpiece import CharacterTable, is_ideograph
from minillm.unicode import category

KNOWN = {
    name: characters_of(text).intersection(CHARACTERS)
    for name, text in json.loads(Path(FILE).read_text()).items()
    if name != "tokenizers"
}


def differing(one, other):
    """The code points that are in one set alone, in hexadecimal, as a short text."""
    codes = sorted(map(ord, one ^ other))
    return f"{len(codes)}: " + " ".join(f"{code:X}" for code in codes[:20])


def assert_same(one, other):
    if one != other:  # an assertion would describe both sets at length
        pytest.fail(differing(one, other))


@pytest.mark.deep
def test_berts_words():
    table = CharacterTable(False, True, False)
    found = {c: table[ord(c)] for c in CHARACTERS}
    assert_same({c for c, text in found.items() if text == " "}, KNOWN["spaces"])
    assert_same({c for c in CHARACTERS if not found[c]}, KNOWN["removed"] | KNOWN["marks"])
    alone = {c for c, text in found.items() if text == f" {c} "}
    assert_same(alone, KNOWN["punctuation"] - KNOWN["marks"] - KNOWN["decomposed"])
    changed = {c for c, text in found.items() if text not in ("", " ", c, f" {c} ")}
    others = KNOWN["punctuation"] | KNOWN["spaces"]
    assert_same(changed - others, KNOWN["decomposed"] - others)


@pytest.mark.deep
def test_berts_words_with_accents():
    table = CharacterTable(False, False, True)
    found = {c: table[ord(c)] for c in CHARACTERS}
    assert_same({c for c in CHARACTERS if not found[c]}, KNOWN["removed"])
    ideographs = {c for c in CHARACTERS if is_ideograph(c)}
    alone = {c for c, text in found.items() if text == f" {c} "}
    assert_same(alone, KNOWN["punctuation"] | ideographs)


@pytest.mark.deep
def test_later_lower_case_is_left_to_python():
    table = CharacterTable(True, False, False)
    others = KNOWN["removed"] | KNOWN["spaces"] | KNOWN["punctuation"]
    assert_same({c for c in CHARACTERS if c not in others and table[ord(c)] != c.lower()}, set())


@pytest.mark.deep
@pytest.mark.parametrize("pattern", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_letters_and_numbers_of_byte_pairs(pattern):
    """A letter joins the x before it, and a number the 1, unless the pattern cuts numbers."""
    some = [c for c in CHARACTERS if c not in " \r\n'"]
    letters, numbers = KNOWN["letters"], KNOWN["numbers"]
    text = "".join(f"x{c}x" for c in some)
    ends = set(ends_by(text, pattern).tolist())
    at, joined = 0, set()
    for c in some:
        if at + 1 not in ends:
            joined.add(c)
        at += 2 + len(c.encode())
    assert_same(joined, letters & set(some))
    text = "".join(f"-{c}-" for c in some)
    ends = set(ends_by(text, pattern).tolist())
    at, other = 0, set()
    for c in some:
        if at + 1 not in ends:
            other.add(c)
        at += 2 + len(c.encode())
    signs = {c for c in some if not c.isspace() or c in "\x1c\x1d\x1e\x1f"} - letters - numbers
    assert_same(other - letters, signs)


@pytest.mark.deep
def test_the_twin_of_the_words_has_the_same_table():
    text = "".join(f"x{c}-{c}1{c} {c}" for c in CHARACTERS)
    with use_kernels("numpy"):
        expected = word_ends(text)
    with use_kernels("auto"):
        np.testing.assert_array_equal(word_ends(text), expected)


def test_a_text_with_late_letters_comes_back():
    text = "ab\u0558c \u208f \U000107bb 1\U0001246f2 \U0001f600 \U000323b0x"
    tokenizer = BytePairs([])
    for pattern in PATTERNS:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert ends_by(text, pattern)[-1] == len(text.encode())


def test_a_category_is_that_of_python_elsewhere():
    for c in "aÅ1 -.\u0301\u3000\U0001f600\x07":
        assert category(c) == unicodedata.category(c)
    assert category("\u07fd") == "Cn"
    assert category("\u166d") == "Po"


@pytest.mark.deep
def test_the_tables_are_those_of_the_library():
    tokenizers = pytest.importorskip("tokenizers")
    if tokenizers.__version__ != json.loads(FILE.read_text())["tokenizers"]:
        pytest.skip("another version")
    for name, characters in reference().items():
        assert_same(characters.intersection(CHARACTERS), KNOWN[name])
