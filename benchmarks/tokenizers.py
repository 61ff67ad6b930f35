"""Byte pairs and WordPiece: learning, and encoding on one thread beside the usual libraries.

    python -m benchmarks.tokenizers [FILE ...] [--tokenizer DIR] [--megabytes 100]

Without FILE it reads the sources of the standard library, in an order drawn at random, again and
again until there are that many bytes.  With the package tiktoken, its speed with the same byte
pairs is measured, too; with the package tokenizers, its speed with the same word pieces.
--tokenizer takes other byte pairs than those that were learned, such as GPT-2's.
"""

import argparse
import random
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from minillm import kernels_info, use_kernels
from minillm.text import BytePairs, WordPieces, load_tokenizer, tokenizer_files, word_pieces
from minillm.text.bpe import PATTERN, split_words
from minillm.text.byte_pairs import learn_merges, train

from .pytorch import peak

ENCODED = 8_000_000  # characters
SHORT = 200  # characters of a short text


def standard_library() -> list[str]:
    """The sources of the standard library."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = (path for path in folder.rglob("*.py") if "site-packages" not in path.parts)
    return [path.read_text(encoding="utf-8", errors="ignore") for path in sorted(paths)]


def repeated(texts: list[str], size: int) -> Iterator[str]:
    """Yield the texts in random orders, up to ``size`` bytes."""
    rng, read = random.Random(0), 0
    while True:
        for text in rng.sample(texts, len(texts)):
            yield text
            read += len(text.encode())
            if read >= size:
                return


def timed(make: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """A result, and the fewest seconds of CPU that it took."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        made = make()
        best = min(best, time.process_time() - start)
    return made, best


def learning(texts: list[str], megabytes: int, vocabulary: int) -> BytePairs:
    """Learn a tokenizer, and print the times of the parts."""
    size = megabytes * 10**6
    tokenizer, seconds = timed(lambda: train(repeated(texts, size), vocabulary))
    words = Counter(word for text in texts for word in split_words(text))
    print(
        f"{len(tokenizer):,} tokens from {megabytes} MB in {seconds:.1f} s of CPU, "
        f"in at most {peak() / 2**20:.0f} MB of memory"
    )
    print(
        f"{len(words):,} different words, {sum(map(len, words)):,} bytes; "
        "of the time, merging took:"
    )
    for kernels in ("cython", "numpy") if kernels_info()["kernels"] != "numpy" else ("numpy",):
        with use_kernels(kernels):
            _, seconds = timed(lambda: learn_merges(words, vocabulary - 257))
        print(f"  {kernels}: {seconds:.2f} s")
    return tokenizer


def tiktoken_encoder(tokenizer: BytePairs) -> Callable[[str], list[int]] | None:
    """The encoder of tiktoken with the same tokens, or None if it is not installed."""
    try:
        import tiktoken
    except ImportError:
        print("tiktoken is not installed: no comparison")
        return None
    special = {text: tokenizer.id_of(text.encode()) for text in tokenizer.specials}
    ranks = {token: id for id, token in enumerate(tokenizer.tokens) if id not in special.values()}
    return tiktoken.Encoding(
        "the same", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special
    ).encode_ordinary


def tokenizers_encoder(tokenizer: WordPieces) -> Callable[[str], list[int]] | None:
    """The encoder of tokenizers with the same pieces, or None if it is not installed."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        print("tokenizers is not installed: no comparison")
        return None
    other = Tokenizer.from_str(tokenizer_files(tokenizer)["tokenizer.json"].decode())
    return lambda text: other.encode(text, add_special_tokens=False).ids


def encoding(
    tokenizer: BytePairs | WordPieces, text: str, other: Callable[[str], list[int]] | None
) -> None:
    """Print the speed of encoding on one thread, the other's, and whether the ids agree."""
    short = [text[at : at + SHORT] for at in range(0, len(text) // 4, SHORT)]
    for name, texts in (("one text", [text]), (f"texts of {SHORT} characters", short)):
        size = sum(len(text.encode()) for text in texts) / 1e6
        ours, seconds = timed(lambda: [tokenizer.encode(text) for text in texts], 3)
        print(f"encoding, {name}: {size / seconds:.1f} MB/s", end="")
        if isinstance(tokenizer, WordPieces):
            _, offsets = timed(lambda: [tokenizer.encode_with_offsets(text) for text in texts], 3)
            print(f", {size / offsets:.1f} with offsets", end="")
        if other:
            theirs, their_seconds = timed(lambda: [other(text) for text in texts], 3)
            same = all(a.tolist() == b for a, b in zip(ours, theirs, strict=True))
            print(f"; the other library {size / their_seconds:.1f} MB/s: ", end="")
            print(
                f"{their_seconds / seconds:.1f} times, ids {'equal' if same else 'DIFFERENT'}",
                end="",
            )
        print()
    ids = tokenizer.encode(text).tolist()
    _, seconds = timed(lambda: tokenizer.decode(ids), 3)
    print(f"decoding: {len(text.encode()) / 1e6 / seconds:.1f} MB/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--tokenizer", metavar="DIR")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--vocabulary", type=int, default=8000)
    args = parser.parse_args()
    texts = [Path(name).read_text(encoding="utf-8") for name in args.files] or standard_library()
    print(f"kernels: {kernels_info()['kernels']}")
    learned = learning(texts, args.megabytes, args.vocabulary)
    tokenizer = load_tokenizer(args.tokenizer) if args.tokenizer else learned
    if not isinstance(tokenizer, BytePairs):
        sys.exit(f"{args.tokenizer}: expected byte pairs, found a vocabulary of {tokenizer.unit}s")
    text = "".join(texts)[:ENCODED]
    encoding(tokenizer, text, tiktoken_encoder(tokenizer))
    print("\nWordPiece")
    pieces, seconds = timed(lambda: word_pieces.train([text[: ENCODED // 2]], args.vocabulary))
    print(f"{len(pieces):,} pieces from {ENCODED // 2 / 1e6:.0f} MB in {seconds:.1f} s of CPU")
    encoding(pieces, text[: ENCODED // 2], tokenizers_encoder(pieces))


if __name__ == "__main__":
    main()
