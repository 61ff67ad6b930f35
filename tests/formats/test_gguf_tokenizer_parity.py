"""Ids of llama.cpp for the tokenizers in our GGUF files."""

import json
from pathlib import Path

import numpy as np
import pytest
from published import WORDS, of_pairs

from minillm.formats.gguf import export_gguf
from minillm.models.llama import Llama, LlamaConfig
from minillm.text import PublishedTokenizer
from minillm.text.byte_pairs import train
from minillm.text.tokenizer_json import sentence_pieces

llama_cpp = pytest.importorskip("llama_cpp")

VECTORS = json.loads((Path(__file__).parents[1] / "text/sentencepiece_vectors.json").read_text())
TEXTS = (
    *VECTORS["texts"],
    *("I'LL say  1234.)\n\n(yes)", "HTTPServer camelCase's", "a\t\n \r\n b", "<s>x</s> <think> y"),
)


def theirs(tokenizer, folder):
    """llama.cpp's ids of a text, by a file that we have written."""
    sizes = {"layers": 1, "heads": 2, "key_heads": 1, "width": 64, "feed_forward": 64}
    model = Llama(LlamaConfig(len(tokenizer), 16, **sizes), np.random.default_rng(0))
    export_gguf(model, tokenizer, folder / "model.gguf")
    library = llama_cpp.Llama(str(folder / "model.gguf"), vocab_only=True, verbose=False)
    return lambda text: library.tokenize(text.encode(), add_bos=False, special=True)


@pytest.mark.parametrize("name", VECTORS["models"])
def test_sentencepieces_tokens(name, tmp_path):
    model = VECTORS["models"][name]
    tokens = (model[part] for part in ("texts", "scores", "types"))
    tokenizer = PublishedTokenizer(sentence_pieces(*tokens, prefix=model["prefix"]))
    encode = theirs(tokenizer, tmp_path)
    for text in TEXTS:
        assert tokenizer.encode_known(text).tolist() == encode(text)


@pytest.mark.parametrize("words", WORDS)
def test_words_of_byte_pairs(words, tmp_path):
    names = ["<s>", "</s>", "<think>"]
    merges = train(TEXTS, 400).merges
    tokenizer = of_pairs(merges, names, words, ["<think>"], "<s>", "</s>")
    encode = theirs(tokenizer, tmp_path)
    for text in TEXTS:
        assert tokenizer.encode_known(text).tolist() == encode(text)
