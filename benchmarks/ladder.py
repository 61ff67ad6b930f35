"""The ladder from counting to recurrence: bits per character of every model on the same text.

    python -m benchmarks.ladder [FILE] [--minutes M | --steps N]

Without FILE it reads the built-in corpus.  All models see the first nine tenths
and are measured on the last one, with the same characters.  n-gram models are
counted and smoothed by modified Kneser-Ney; the neural n-gram (Bengio et al.
2003) and the LSTM are trained for M minutes or N steps each, with the settings
of `minillm train lm`; a step is a batch of 32 windows of 64 characters.
"""

import argparse
import sys
import time

import numpy as np

from minillm import kernels_info
from minillm.data import split_text
from minillm.data.streams import Spill, TextStream
from minillm.metrics import bits
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.runs.kinds import lm, ngram
from minillm.text import Characters
from minillm.training import AdamW, Options, train
from minillm.training.language_model import LanguageModelTask
from minillm.training.ngram import train_ngram

NEURAL_ORDER = 9
DEFAULTS = lm.Settings()


def counted(text: TextStream, order: int) -> tuple[float, int]:
    """Return bits per character, and the number of n-grams."""
    settings = ngram.Settings(order=order, unit="character")
    cut = text.characters * 9 // 10
    with Spill() as spill:
        model, vocabulary, _ = train_ngram(text, text.characters - cut, settings, spill)
        assert model is not None
        results = ngram.text_results(model, vocabulary, text.blocks(cut), "held-out text")
    return results["bits_per_token"], sum(model.config.sizes)


def trained(kind: str, text: str, minutes: float | None, steps: int | None) -> tuple[float, int]:
    """Return the best bits per character on the held-out text, and the number of weights."""
    vocabulary, rng = Characters.from_text(text), np.random.default_rng(0)
    model: LanguageModel | NeuralNGram
    if kind == "lstm":
        model = LanguageModel(LanguageModelConfig(len(vocabulary)), rng)
    else:
        sizes = NeuralNGramConfig(len(vocabulary), NEURAL_ORDER, embedding=32, hidden=512)
        model = NeuralNGram(sizes, rng)
    training, validation = (vocabulary.encode(part) for part in split_text(text))
    task = LanguageModelTask(model, training, validation, DEFAULTS.batch, DEFAULTS.window)
    options = Options(steps, minutes, learning_rate=DEFAULTS.learning_rate)
    optimiser = AdamW(model.params, weight_decay=DEFAULTS.weight_decay)
    summary = train(model.params, optimiser, task, options, rng, quiet=True)
    return bits(summary.best_loss), sum(array.size for array in model.params.values())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="for each trained model (default 5)")
    length.add_argument("--steps", type=int, help="for each trained model")
    args = parser.parse_args()
    budget = (None, args.steps) if args.steps else (args.minutes or 5.0, None)
    stream = TextStream(args.files)
    text = "".join(stream.blocks())
    info = kernels_info()
    print(f"{len(text):,} characters; kernels: {info['kernels']}, {info['threads']} threads\n")
    print("| model | bits per character | n-grams or weights | seconds |")
    print("|---|---|---|---|")

    def show(name: str, measure, *measure_args) -> None:
        start = time.perf_counter()
        figure, size = measure(*measure_args)
        seconds = time.perf_counter() - start
        print(f"| {name} | {figure:.3f} | {size:,} | {seconds:.1f} |")
        sys.stdout.flush()

    for order in range(1, 8):
        show(f"{order}-gram", counted, stream, order)
    show(f"neural {NEURAL_ORDER}-gram, 32 by 512", trained, "neural", text, *budget)
    show("LSTM, 1 layer of 512", trained, "lstm", text, *budget)


if __name__ == "__main__":
    main()
