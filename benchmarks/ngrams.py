"""n-gram models: the perplexities of all smoothings.

    python -m benchmarks.ngrams [FILE]

Without FILE it reads the built-in corpus.
"""

import argparse

from minillm import kernels_info
from minillm.data.corpora import TextStream
from minillm.models.ngram import SMOOTHINGS
from minillm.runs.kinds.ngram import NGramSettings, text_results
from minillm.training.ngram import train_ngram


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


if __name__ == "__main__":
    main()
