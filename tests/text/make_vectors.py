"""Makes anew the ids in gpt2_vectors.json and sentencepiece_vectors.json, of the texts there.

    python tests/text/make_vectors.py [FOLDER RANKS]

The models of the library sentencepiece are trained here: byte pairs with byte tokens, as in Llama 2
and in Gemma; the file has their tokens with scores and types, as a GGUF file has them.  FOLDER has
GPT-2's vocab.json and merges.txt, of which the file has the merges that the texts need.  Its ids
are those of tiktoken, from RANKS, its file of ranks (a token in base 64 and its rank on each line).
"""

import base64
import json
import sys
import tempfile
from pathlib import Path

import sentencepiece

from minillm.text import load_tokenizer
from minillm.text.bpe import PATTERN, split_words
from minillm.text.published import unspell

GPT2, PIECES = (
    Path(__file__).with_name(f"{name}_vectors.json") for name in ("gpt2", "sentencepiece")
)
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # types of tokens
CORPUS = (
    "She sells sea shells by the sea shore; the shells that she sells are sea shells, I'm sure.",
    "the cat sat on the mat, and that cat is the cat of the house 12 34 2026",
    "été à la plage, naïve café, Straße über Köln", "def f(x):\n    return  x ** 2",
    "漢字 かな 漢字 仮名", "aaaa aaa aa bbbb 1111 (())",
)  # fmt: skip
MODELS = {
    "pairs": {},
    "pairs without a prefix": {
        "add_dummy_prefix": False, "bos_id": 2, "eos_id": 1, "pad_id": 0, "unk_id": 3,
    },
}  # fmt: skip


def trained(options):
    """A model of sentencepiece."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus.txt")
        corpus.write_text("\n".join(CORPUS * 3))
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus),
            model_prefix=str(corpus.with_name("model")),
            model_type="bpe",
            byte_fallback=True,
            remove_extra_whitespaces=False,
            vocab_size=340,
            hard_vocab_limit=False,
            character_coverage=0.98,
            minloglevel=2,
            normalization_rule_name="identity",
            **options,
        )
        data = corpus.with_name("model.model").read_bytes()
    return sentencepiece.SentencePieceProcessor(model_proto=data)


def of_sentencepiece():
    texts, found = json.loads(PIECES.read_text())["texts"], {}
    for name, options in MODELS.items():
        library = trained(options)
        numbers = range(library.get_piece_size())
        kinds = {UNKNOWN: library.is_unknown, CONTROL: library.is_control, BYTE: library.is_byte}
        found[name] = {
            "texts": [library.id_to_piece(n) for n in numbers],
            "scores": [library.get_score(n) for n in numbers],
            "types": [
                next((k for k, is_one in kinds.items() if is_one(n)), NORMAL) for n in numbers
            ],
            "prefix": options.get("add_dummy_prefix", True),
            "ids": [library.encode(text) for text in texts],
        }
    PIECES.write_text(json.dumps({"texts": texts, "models": found}) + "\n")


def of_gpt2(folder, ranks):
    import tiktoken

    lines = [line.split() for line in Path(ranks).read_text().splitlines()]
    reference = tiktoken.Encoding(
        "gpt2",
        pat_str=PATTERN,
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in lines},
        special_tokens={"<|endoftext|>": 50256},
    )
    tokenizer = load_tokenizer(folder)
    texts = [text for text, _ in json.loads(GPT2.read_text())["texts"]]
    words = {word for text in texts for word in split_words(text)}
    merges = [
        [a, b, tokenizer.texts.index(a + b)]
        for a, b in tokenizer.values["model"]["merges"]
        if any(unspell(a + b) in word for word in words)
    ]
    rows = ",\n".join(json.dumps([text, reference.encode_ordinary(text)]) for text in texts)
    GPT2.write_text(f'{{"merges": {json.dumps(merges)}, "texts": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    of_sentencepiece()
    if sys.argv[1:]:
        of_gpt2(*sys.argv[1:])
