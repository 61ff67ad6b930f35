"""From texts to texts, whatever the tokens are."""

import numpy as np
import pytest
from fake_models import TinyDecoder

from minillm.decoding import Translator
from minillm.errors import InputError
from minillm.text import Characters, Words

WORDS = ["<unk>", "a", "b", "c", "d", "e"]


class Bytes:
    """A vocabulary whose tokens are no strings."""

    unit = "byte"
    pretokenised = False
    bos = eos = unknown = padding = line_end = sentence_end = None

    def __init__(self, values):
        self.values = bytes(values)

    def __len__(self):
        return len(self.values)

    def encode(self, text, name="text"):
        return np.array([self.values.index(byte) for byte in text.encode()], np.int32)

    encode_known = encode

    def decode(self, ids, unknown_words=()):
        return bytes(self.values[id] for id in ids).decode(errors="replace")

    def stream(self, ids, unknown_words=()):
        yield self.decode(ids)

    def split(self, text):
        return [str(bytes([byte])) for byte in text.encode()]

    def show(self, id):
        return str(bytes([self.values[id]]))

    def to_dict(self):
        return {}


def test_the_attended_word_replaces_an_unknown_one():
    words = Words(WORDS)
    translator = Translator(TinyDecoder(6), words, words, longest=9, limit=6)
    text = "a Zoe b Yann c"
    replaced = 0
    for output in translator.translate([text], beam=5)[0]:
        attended = output.hypothesis.weights.argmax(axis=-1)
        expected = [
            text.split()[place] if id == words.unknown else words.show(id)
            for id, place in zip(output.hypothesis.ids, attended, strict=False)
        ]
        assert output.text == " ".join(expected)
        replaced += output.hypothesis.ids.count(words.unknown)
    assert replaced > 0


def test_without_attention_nothing_is_replaced():
    words = Words(WORDS)
    blind = Translator(TinyDecoder(6, attention=False), words, words, longest=9, limit=6)
    assert any("<unk>" in output.text for output in blind.translate(["a Zoe"])[0])


@pytest.mark.parametrize("target", [Characters("abcdef"), Bytes(b"ab\xc3\xa9cd"), Words(WORDS)])
@pytest.mark.parametrize("source", [Characters(" abcé"), Bytes(b"abc \xc3\xa9"), Words(WORDS)])
def test_any_vocabulary_on_either_side(source, target):
    translator = Translator(TinyDecoder(len(target), sources=7), source, target, 20, limit=9)
    texts = ["a", "é b", "a b c", "b"]
    outputs = translator.translate(texts, beam=3, batch=2, keep_weights=True)
    assert [len(results) for results in outputs] == [3] * 4
    for text, results in zip(texts, outputs, strict=True):
        for output in results:
            h = output.hypothesis
            assert len(h.weights) == len(h.ids) + h.ended
            if target.unknown is None:
                assert output.text == target.decode(h.ids)
            best = translator.translate([text], beam=3)[0]
            assert [other.text for other in best] == [other.text for other in results]


def test_sampling_is_seeded():
    words = Words(WORDS)
    translator = Translator(TinyDecoder(6), words, words, longest=9, limit=6)
    drawn = [
        translator.translate(["a b"] * 20, temperature=1.0, rng=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    texts = [[results[0].text for results in outputs] for outputs in drawn]
    assert texts[0] == texts[1] != texts[2]


def test_texts_that_are_empty_or_too_long_are_named():
    words = Words(WORDS)
    translator = Translator(TinyDecoder(6), words, words, longest=3)
    with pytest.raises(InputError, match=r"^text 2: expected a text of 1 to 3 words, found 0$"):
        translator.translate(["a", " "])
    with pytest.raises(InputError, match=r"^line 7: expected a text of 1 to 3 words, found 4$"):
        translator.translate(["a b c d"], places=["line 7"])
