"""n-gram models: smoothings compared, parity with KenLM, speed and memory.

    python -m benchmarks.ngram_kenlm [FILE]

Without FILE it reads the built-in corpus.  KenLM's Python package scores, but
does not estimate: its estimator is a program of its own, which is not compared.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from minillm import kernels_info
from minillm.data.streams import Spill, TextStream
from minillm.formats.arpa import write_arpa
from minillm.models.ngram import SMOOTHINGS
from minillm.runs.kinds.ngram import Settings, text_results
from minillm.text.words import split_words
from minillm.training.ngram import token_ids, train_ngram


def smoothings(text: TextStream, cut: int) -> None:
    """Perplexity of the held-out tenth, by order and smoothing."""
    print("\nPerplexity on the held-out tenth (words; seen once: one unknown word)\n")
    print("| order | " + " | ".join(SMOOTHINGS) + " |")
    print("|---|" + "---|" * len(SMOOTHINGS))
    for order in range(1, 6):
        row = []
        for smoothing in SMOOTHINGS:
            settings = Settings(order=order, smoothing=smoothing)
            with Spill() as spill:
                model, words, _ = train_ngram(text, text.characters - cut, settings, spill)
                assert model is not None
                results = text_results(model, words, text.blocks(cut), "held-out text")
            row.append(f"{results['perplexity']:.1f}")
        print(f"| {order} | " + " | ".join(row) + " |", flush=True)


def kenlm_parity(text: TextStream, cut: int) -> None:
    """The scores of 1,000 held-out sentences by KenLM and by us, and how long they take."""
    try:
        import kenlm
    except ImportError:
        print("\nKenLM is not installed: no comparison")
        return
    with Spill() as spill:  # a text that is small enough to be estimated in memory
        model, vocabulary, _ = train_ngram(text, text.characters - cut, Settings(), spill)
    assert model is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.arpa"
        start = time.perf_counter()
        write_arpa(path, vocabulary, model.params)
        writing = time.perf_counter() - start
        theirs = kenlm.Model(str(path))
    ids = np.concatenate(list(token_ids(text.blocks(cut), vocabulary, model.config)))
    start_id, end = model.config.start, model.config.line_end
    sentences = [
        s for s in np.split(ids, np.flatnonzero(ids == start_id)) if len(s) and s[-1] == end
    ]
    worst = 0.0
    for sentence in sentences[:1000]:
        words = " ".join(vocabulary.decode([id]) for id in sentence[1:-1])
        worst = max(worst, abs(theirs.score(words) - model.probabilities(sentence).sum()))
    print(f"\n{min(1000, len(sentences)):,} held-out sentences, order 5: the largest difference")
    print(f"between KenLM's score and ours is {worst:.1e} (log10); the ARPA file of")
    print(f"{sum(model.config.sizes):,} n-grams was written in {writing:.1f} s")

    sums = []
    rng = np.random.default_rng(0)
    for _ in range(100):
        at = rng.integers(5, len(ids))
        sums.append((10 ** model.distribution(ids[at - 4 : at])).sum())
    off = np.abs(np.array(sums) - 1).max()
    print(f"100 random contexts: sums over the vocabulary within {off:.1e} of 1")

    many = np.tile(ids, max(1, 2_000_000 // len(ids)))
    speed = max(_speed(lambda: model.probabilities(many), len(many)) for _ in range(3))
    texts = [" ".join(vocabulary.decode([id]) for id in s[1:-1]) for s in sentences]
    tokens = sum(len(s) - 1 for s in sentences)
    loop = max(_speed(lambda: [theirs.score(t) for t in texts], tokens) for _ in range(3))
    print(
        f"scoring in bulk: {speed / 1e6:.1f} million tokens/s here; KenLM, a sentence a call, ",
        end="",
    )
    print(f"{loop / 1e6:.1f} million")


def _speed(function, tokens: int) -> float:
    start = time.perf_counter()
    function()
    return tokens / (time.perf_counter() - start)


def varied_copies(text: TextStream, tokens: int) -> Iterator[str]:
    """The text over and over, a quarter of its words drawn anew, to so many tokens in all.

    The drawn words are as frequent as their rank is small (Zipf), so that the
    n-grams are mostly new ones: more of them than in written language.
    """
    rng = np.random.default_rng(0)
    words = np.array(split_words("".join(text.blocks())), object)
    drawn = np.array([f"w{rank}" for rank in range(50_000)], object)
    while tokens > 0:
        copy = words[:tokens].copy()
        place = np.flatnonzero((rng.random(len(copy)) < 0.25) & (copy != "\n"))
        copy[place] = drawn[(50_000 ** rng.random(len(place))).astype(int)]
        yield " ".join(copy).replace(" \n ", "\n") + "\n"
        tokens -= len(copy)


def large(text: TextStream, tokens: int) -> None:
    """The command line on many tokens: see `varied_copies`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.txt"
        with open(path, "w") as file:
            file.writelines(varied_copies(text, tokens))
        command = [sys.executable, "-m", "minillm", "train", "ngram", str(path), "--pretokenised"]
        start = time.perf_counter()
        subprocess.run([*command, "--order", "5", "--out", f"{folder}/run"], check=True)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"\n{tokens:,} tokens, order 5, modified Kneser-Ney, from file to folder:")
        print(f"{seconds:.1f} s, at most {peak:.2f} GB of memory")


def main() -> None:
    """Prints all tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--tokens", type=int, default=10_000_000, help="of the large text")
    args = parser.parse_args()
    text = TextStream(args.files)
    cut = text.characters * 9 // 10
    info = kernels_info()
    print(f"kernels: {info['kernels']}, {info['threads']} threads")
    smoothings(text, cut)
    kenlm_parity(text, cut)
    large(text, args.tokens)


if __name__ == "__main__":
    main()
