import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import InputError
from minillm.text import Characters


@given(st.text(min_size=1))
def test_any_text_comes_back(text):
    vocabulary = Characters.from_text(text)
    ids = vocabulary.encode(text)
    assert len(ids) == len(text)
    assert vocabulary.decode(ids) == text
    assert list(vocabulary.stream(ids)) == list(text) == vocabulary.split(text)


def test_ids_follow_code_points():
    vocabulary = Characters.from_text("b\U0001f600aé")
    assert vocabulary.tokens == ["a", "b", "é", "\U0001f600"]
    assert len(vocabulary) == 4
    assert vocabulary.encode("\U0001f600b").tolist() == [3, 1]
    assert vocabulary.encode("").dtype == np.int32


@pytest.mark.parametrize("character", ["z", "A", "é", "\U0001f600", "\udcff"])
def test_a_character_that_it_lacks_is_named_with_its_place(character):
    vocabulary = Characters.from_text("abc\n")
    with pytest.raises(InputError, match=r"^prompt, line 2, column 3: ") as error:
        vocabulary.encode("abc\nab" + character + "x", "prompt")
    assert repr(character) in str(error.value)
    assert f"U+{ord(character):04X}" in str(error.value)


@pytest.mark.parametrize("tokens", [[], ["ab"], ["b", "a"], ["a", "a"]])
def test_damaged_tokens_are_refused(tokens):
    with pytest.raises(ValueError, match="tokens"):
        Characters(tokens)
