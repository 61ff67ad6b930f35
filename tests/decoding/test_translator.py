"""From texts to texts, whatever the tokens are."""

import pytest
from fake_models import TinyDecoder

from minillm.decoding import Translator
from minillm.errors import InputError
from minillm.text import Characters, Words, byte_pairs

WORDS = ["<unk>", "a", "b", "c", "d", "e"]
BYTES = byte_pairs.train(["a b c é"], 260)


def test_the_unknown_word_is_never_written():
    words = Words(WORDS)
    for seed in range(5):
        model = TinyDecoder(6, seed=seed, scale=1.0)
        translator = Translator(model, words, words, longest=9, limit=6)
        texts = ["a Zoe b Yann c", "Zoe", "b"]
        outputs = translator.translate(texts)
        ids = [id for results in outputs for output in results for id in output.hypothesis.ids]
        assert words.unknown not in ids
        assert ids


def test_a_model_that_knows_no_word_writes_nothing():
    words = Words(WORDS[:1])
    translator = Translator(TinyDecoder(1), words, words, longest=9, limit=6)
    ((output, *more),) = translator.translate(["a Zoe"])
    assert (output.text, output.hypothesis.ended, more) == ("", True, [])


def test_options_of_the_search():
    words, text = Words(WORDS), "a b c d"
    translator = Translator(TinyDecoder(6, scale=1.0), words, words, longest=9, limit=6)
    for output in translator.translate([text], least=4, no_repeat=1)[0]:
        assert 4 <= len(output.text.split()) == len(set(output.text.split()))


@pytest.mark.parametrize(
    ("source", "target"),
    [(Characters(" abcé"), BYTES), (BYTES, Words(WORDS)), (Words(WORDS), Characters("abcdef"))],
)
def test_any_vocabulary_on_either_side(source, target):
    model = TinyDecoder(len(target), sources=len(source))
    translator = Translator(model, source, target, 20, limit=9)
    texts = ["a", "é b", "a b c", "b"]
    outputs = translator.translate(texts, beam=3, batch=2, keep_weights=True)
    assert [len(results) for results in outputs] == [3] * 4
    for text, results in zip(texts, outputs, strict=True):
        for output in results:
            h = output.hypothesis
            assert len(h.weights) == len(h.ids) + h.ended
            assert output.text == target.decode(h.ids)
            best = translator.translate([text], beam=3)[0]
            assert [other.text for other in best] == [other.text for other in results]


def test_texts_that_are_empty_are_named():
    words = Words(WORDS)
    translator = Translator(TinyDecoder(6), words, words, longest=3)
    message = "expected a text of one word or more, found none"
    with pytest.raises(InputError, match=rf"^text 2: {message}$"):
        translator.translate(["a", " "])
    with pytest.raises(InputError, match=rf"^line 7: {message}$"):
        translator.translate([""], places=["line 7"])


def test_the_beginning_of_a_long_text_is_read():
    words = Words(WORDS)
    translator = Translator(TinyDecoder(6), words, words, longest=3)
    long, short = translator.translate(["a b c d e", "a b c"])
    assert [output.text for output in long] == [output.text for output in short]
    assert [output.cut for output in (*long, *short)] == [True] * 5 + [False] * 5
