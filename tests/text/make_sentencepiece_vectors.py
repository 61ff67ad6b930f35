"""Makes sentencepiece_vectors.json: small models of the library sentencepiece, and their ids.

    python tests/text/make_sentencepiece_vectors.py

The models are trained here: byte pairs with byte tokens, as in Llama 2 and in Gemma.  The file has
their tokens with scores and types, as a GGUF file has them.
"""

import json
import tempfile
from pathlib import Path

import sentencepiece

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # types of tokens
FILE = Path(__file__).with_name("sentencepiece_vectors.json")
CORPUS = (
    "She sells sea shells by the sea shore; the shells that she sells are sea shells, I'm sure.",
    "the cat sat on the mat, and that cat is the cat of the house 12 34 2026",
    "été à la plage, naïve café, Straße über Köln", "def f(x):\n    return  x ** 2",
    "漢字 かな 漢字 仮名", "aaaa aaa aa bbbb 1111 (())",
)  # fmt: skip
TEXTS = (
    *("", " ", "  ", "a", " a", "a ", "The cat.", "she sells  sea   shells ", " \n\n x\t\ty"),
    *(
        "naïve été\u0301",
        "漢字かな😀👍🏽",
        "\ufb01ligree Ａｂ\u00a0c",
        "aaaaaaaaaaaaa",
        "▁a▁▁b",
        "12345",
    ),
    *("\u0301\u200d\x01\x7f\ufffd", "don't  stop", "x" * 40, "e\u0301e\u0308 a\u030a"),
)
MODELS = {
    "pairs": {"model_type": "bpe", "byte_fallback": True, "remove_extra_whitespaces": False},
    "pairs without a prefix": {
        "model_type": "bpe",
        "byte_fallback": True,
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
        "bos_id": 2,
        "eos_id": 1,
        "pad_id": 0,
        "unk_id": 3,
    },
}


def model(folder, name, options):
    """A trained model, as the bytes of its file."""
    (folder / "corpus.txt").write_text("\n".join(CORPUS * 3))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "model"),
        vocab_size=340,
        hard_vocab_limit=False,
        character_coverage=0.98,
        minloglevel=2,
        normalization_rule_name="identity",
        **options,
    )
    return (folder / "model.model").read_bytes()


def main():
    """Train the models and write the file."""
    found = {}
    for name, options in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            data = model(Path(folder), name, dict(options))
        library = sentencepiece.SentencePieceProcessor(model_proto=data)
        ids = [library.encode(text) for text in TEXTS]
        numbers = range(library.get_piece_size())
        kinds = {UNKNOWN: library.is_unknown, CONTROL: library.is_control, BYTE: library.is_byte}
        found[name] = {
            "texts": [library.id_to_piece(n) for n in numbers],
            "scores": [library.get_score(n) for n in numbers],
            "types": [
                next((k for k, is_one in kinds.items() if is_one(n)), NORMAL) for n in numbers
            ],
            "prefix": options.get("add_dummy_prefix", True),
            "ids": ids,
        }
    FILE.write_text(json.dumps({"texts": TEXTS, "models": found}) + "\n")


if __name__ == "__main__":
    main()
