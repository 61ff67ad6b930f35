"""WordPiece: three criteria for the next piece, and encoding on one thread beside tokenizers.

    python -m benchmarks.wordpiece [FILE ...] [--vocabulary 8000] [--characters 4000000]

Without FILE it reads the sources of the standard library, in an order drawn at random.  The last
tenth of the text is held out.  With the package tokenizers, its speed stands beside ours, from the
same pieces.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.bpe import SHORT, standard_library, timed
from minillm.text import WordPieces, tokenizer_files, wordpiece

CRITERIA: dict[str, Callable[..., Any]] = {
    "gain": wordpiece.gain,
    "count": lambda pair, left, right, total: pair,
    "fraction": lambda pair, left, right, total: pair / (left * right),
}
BOUNDS = {"fraction": (2, 5, 10, 20, 50, 100)}  # how often a pair has to stand


def held_out_nats(tokenizer: WordPieces, training: str, held_out: str) -> tuple[float, float]:
    """Bytes per token, and nats per byte of a unigram model of the pieces, one added to each."""
    counts = 1.0 + np.bincount(tokenizer.encode(training), minlength=len(tokenizer))
    ids, size = tokenizer.encode(held_out), len(held_out.encode())
    return size / len(ids), -np.log(counts / counts.sum())[ids].sum() / size


def criteria(training: str, held_out: str, vocabulary: int) -> None:
    """Prints how well the pieces suit that each criterion chooses."""
    print("criterion  bound  tokens  bytes/token  nats/byte  CPU s  first pieces")
    for name, criterion in CRITERIA.items():
        for bound in BOUNDS.get(name, (2,)):
            with (
                patch.object(wordpiece, "gain", criterion),
                patch.object(wordpiece, "LEAST", bound),
            ):
                learned, seconds = timed(lambda: wordpiece.train([training], vocabulary))
            length, nats = held_out_nats(learned, training, held_out)
            first = learned.tokens[len(learned) - len(_learned(learned)) :][:6]
            print(
                f"{name:9}  {bound:5}  {len(learned):6,}  {length:11.3f}  {nats:9.4f}  "
                f"{seconds:5.1f}  {' '.join(first)}",
                flush=True,
            )


def _learned(tokenizer: WordPieces) -> list[str]:
    """The pieces of more than a character."""
    known = set(tokenizer.specials)
    return [t for t in tokenizer.tokens if t not in known and len(t.removeprefix("##")) > 1]


def reference(tokenizer: WordPieces) -> Any:
    """The library tokenizers with the same pieces, or None where it is not installed."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        print("tokenizers is not installed: no comparison")
        return None
    return Tokenizer.from_str(tokenizer_files(tokenizer)["tokenizer.json"].decode())


def encoding(tokenizer: WordPieces, text: str) -> None:
    """Prints the speed of encoding on one thread, and whether the ids agree."""
    other = reference(tokenizer)
    short = [text[at : at + SHORT] for at in range(0, len(text) // 4, SHORT)]
    for name, texts in (("one text", [text]), (f"texts of {SHORT} characters", short)):
        size = sum(len(text.encode()) for text in texts) / 1e6
        fresh = WordPieces(tokenizer.tokens)
        _, first = timed(lambda: [fresh.encode(text) for text in texts])
        ours, again = timed(lambda: [fresh.encode(text) for text in texts], 3)
        _, offsets = timed(lambda: [fresh.encode_with_offsets(text) for text in texts], 3)
        print(f"{name}: {size / first:.1f} MB/s at first, {size / again:.1f} then, ", end="")
        print(f"{size / offsets:.1f} with offsets", end="")
        if other:
            theirs, seconds = timed(
                lambda: [other.encode(text, add_special_tokens=False).ids for text in texts]
            )
            same = all(a.tolist() == b for a, b in zip(ours, theirs, strict=True))
            print(f"; tokenizers {size / seconds:.1f} MB/s, ", end="")
            print(f"ids {'equal' if same else 'DIFFERENT'}", end="")
        print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--characters", type=int, default=4_000_000)
    args = parser.parse_args()
    texts = [Path(name).read_text(encoding="utf-8") for name in args.files]
    if not texts:
        texts = standard_library()
        random.Random(0).shuffle(texts)
    text = "".join(texts)[: args.characters]
    cut = len(text) * 9 // 10
    encoding(wordpiece.train([text[:cut]], args.vocabulary), text)
    criteria(text[:cut], text[cut:], args.vocabulary)


if __name__ == "__main__":
    main()
