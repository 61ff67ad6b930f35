"""n-gram models: smoothings compared, and parity with KenLM.

    python -m benchmarks.ngrams [FILE]

Without FILE it reads the built-in corpus.  It prints the perplexities of all smoothings, and
compares scores with KenLM's Python package, if it is installed.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from minillm import kernels_info
from minillm.data.corpora import TextStream
from minillm.formats.arpa import write_arpa
from minillm.models.ngram import SMOOTHINGS
from minillm.runs.kinds.ngram import NGramSettings, text_results
from minillm.training.ngram import token_ids, train_ngram


def smoothings(text: TextStream, cut: int) -> None:
    """Print the perplexity of the held-out tenth, by order and smoothing."""
    print("\nPerplexity on the held-out tenth (words; seen once: one unknown word)\n")
    print("| order | " + " | ".join(SMOOTHINGS) + " |")
    print("|---|" + "---|" * len(SMOOTHINGS))
    for order in range(1, 6):
        row = []
        for smoothing in SMOOTHINGS:
            settings = NGramSettings(order=order, smoothing=smoothing)
            model, words, _ = train_ngram(text, cut, settings)
            results = text_results(model, words, text.blocks(cut), "held-out text")
            row.append(f"{results['perplexity']:.1f}")
        print(f"| {order} | " + " | ".join(row) + " |", flush=True)


def scoring(text: TextStream, cut: int) -> None:
    """Compare the scores of the held-out sentences with KenLM's, and the speed."""
    try:
        import kenlm
    except ImportError:
        print("\nKenLM is not installed: no comparison")
        return
    model, vocabulary, _ = train_ngram(text, cut, NGramSettings())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.arpa"
        write_arpa(path, vocabulary, model.params)
        theirs = kenlm.Model(str(path))
    ids = np.concatenate(list(token_ids(text.blocks(cut), vocabulary, model.config)))
    start_id, end = model.config.start, model.config.line_end
    sentences = [
        s for s in np.split(ids, np.flatnonzero(ids == start_id)) if len(s) and s[-1] == end
    ]
    texts = [" ".join(vocabulary.decode([id]) for id in s[1:-1]) for s in sentences]
    worst = max(
        abs(theirs.score(text) - model.probabilities(sentence).sum())
        for text, sentence in zip(texts, sentences, strict=True)
    )
    print(f"\n{len(sentences):,} held-out sentences, order 5: the largest difference between")
    print(f"KenLM's score and ours is {worst:.1e} (log10)")
    many = np.tile(ids, max(1, 2_000_000 // len(ids)))
    speed = max(_speed(lambda: model.probabilities(many), len(many)) for _ in range(3))
    tokens = sum(len(s) - 1 for s in sentences)
    loop = max(_speed(lambda: [theirs.score(t) for t in texts], tokens) for _ in range(3))
    print(f"scoring in bulk: {speed / 1e6:.1f} million tokens/s here; ", end="")
    print(f"KenLM, a sentence a call, {loop / 1e6:.1f} million")


def _speed(function, tokens: int) -> float:
    start = time.perf_counter()
    function()
    return tokens / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", metavar="FILE")
    args = parser.parse_args()
    text = TextStream(args.files)
    info = kernels_info()
    print(f"kernels: {info['kernels']}, {info['threads']} threads\n")
    cut = text.characters * 9 // 10
    smoothings(text, cut)
    scoring(text, cut)


if __name__ == "__main__":
    main()
