"""Makes sentencepiece_vectors.json: small models of the library sentencepiece, and their ids.

    python tests/text/make_sentencepiece_vectors.py

The models are trained here: byte pairs with byte tokens, as in Llama 2 and in Gemma, and unigram
models, one of them with a table of replacements.
"""

import json
import tempfile
from base64 import b64encode
from pathlib import Path

import sentencepiece

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
    "pairs without bytes": {"model_type": "bpe"},
    "unigram": {"model_type": "unigram"},
    "unigram with a table": {"model_type": "unigram", "byte_fallback": True, "table": True},
}
RULES = {
    "\ufb01": "fi",
    "Ａ": "A",
    "\u00a0": " ",
    "e\u0301": "é",
    "\u0301": "",
    "\t": " ",
    "A": "a",
}


def model(folder, name, options):
    """A trained model, as the bytes of its file."""
    (folder / "corpus.txt").write_text("\n".join(CORPUS * 3))
    tabled = options.pop("table", False)
    rules = "".join(
        f"{' '.join(f'{ord(c):X}' for c in a)}\t{' '.join(f'{ord(c):X}' for c in b)}\n"
        for a, b in RULES.items()
    )
    (folder / "rules.tsv").write_text(rules)
    table = {"normalization_rule_tsv": str(folder / "rules.tsv")}
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "model"),
        vocab_size=340 if options.get("byte_fallback") else 100,
        hard_vocab_limit=False,
        character_coverage=0.98,
        minloglevel=2,
        **(table if tabled else {"normalization_rule_name": "identity"}),
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
        found[name] = {"model": b64encode(data).decode(), "ids": ids}
    FILE.write_text(json.dumps({"texts": TEXTS, "models": found}) + "\n")


if __name__ == "__main__":
    main()
