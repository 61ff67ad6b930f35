"""word2vec against gensim: words per second, and quality within the spread of its seeds.

    python -m benchmarks.word2vec [FILE]

Without FILE it reads the built-in corpus.  Both get the same words in the same
sentences, the same parameters, and the same number of threads.  gensim is given
lists of words in memory, the fastest way from Python except for a file in its own
format; ours are ids in memory, as in `minillm train word2vec`.  Times are of training
alone, the best of several.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from minillm import kernels_info
from minillm.data.corpora import TextStream
from minillm.metrics import analogy_accuracy
from minillm.models.vectors import Vectors
from minillm.models.word2vec import Word2Vec, Word2VecConfig
from minillm.training.word2vec import Corpus, Progress, WordCounts, count_words, learning_rates

FOUR = [(algorithm, negative) for algorithm in ("skip-gram", "cbow") for negative in (5, 0)]


def name(algorithm: str, negative: int) -> str:
    """The name in the tables."""
    return f"{algorithm}, {'negative sampling' if negative else 'hierarchical softmax'}"


class Lines:
    """Sentences of words, written as a text stream that both sides read."""

    def __init__(self, sentences: list[list[str]]):
        self.sentences, self.files = sentences, ["the sentences"]

    def blocks(self) -> Iterator[str]:
        yield "".join(" ".join(sentence) + "\n" for sentence in self.sentences)


def ours(lines: Lines, minimum: int, epochs: int, threads: int, seed: int, **options):
    """Our model, its words, and the raw words per second."""
    words = count_words(lines, minimum, True)
    rate = options.pop("rate")
    model = Word2Vec(
        Word2VecConfig(len(words), **options), words.counts, np.random.default_rng(seed)
    )
    progress = Progress()
    raw = sum(map(len, lines.sentences))
    with tempfile.TemporaryFile() as file:
        corpus = Corpus(words, lines, file)
        parts = list(corpus.parts())
    start = time.perf_counter()
    for _ in range(epochs):
        for ids, starts in parts:
            total = epochs * corpus.words
            rates = learning_rates(progress.words, starts, total, rate, 1e-4)
            model.learn(ids, starts, rates, seed, progress.sentences, threads)
            progress.sentences += len(starts) - 1
            progress.words += len(ids)
    return model, words, epochs * raw / (time.perf_counter() - start)


def theirs(lines: Lines, minimum: int, epochs: int, threads: int, seed: int, **options):
    """gensim's model, and the raw words per second."""
    from gensim.models import Word2Vec as Gensim

    model = Gensim(
        vector_size=options["dimension"],
        window=options["window"],
        min_count=minimum,
        sg=int(options["algorithm"] == "skip-gram"),
        cbow_mean=1,
        negative=options["negative"],
        hs=int(options["negative"] == 0),
        sample=options["subsample"],
        alpha=options["rate"],
        min_alpha=1e-4,
        workers=threads,
        seed=seed,
    )
    model.build_vocab(lines.sentences)
    raw = sum(map(len, lines.sentences))
    start = time.perf_counter()
    # total_words: the rate falls with the words, as ours does, not with the sentences.
    model.train(lines.sentences, total_words=raw, epochs=epochs)
    return model, epochs * raw / (time.perf_counter() - start)


def speed(lines: Lines, epochs: int, repeats: int) -> None:
    """Print words per second, all four kinds, one thread and two, and what the second one gains.

    All take turns, so that a slow minute of the machine is one for everybody.
    """
    print(
        "\nThousand raw words per second: dimension 100, window 5, 5 negatives, minimum count 5\n"
    )
    print("| | threads | gensim | minillm | ratio | gain of gensim | gain of minillm |")
    print("|---|---|---|---|---|---|---|")
    for algorithm, negative in FOUR:
        options = {
            "algorithm": algorithm,
            "negative": negative,
            "dimension": 100,
            "window": 5,
            "subsample": 1e-3,
            "rate": 0.025,
        }
        cases = [(side, threads) for threads in (1, 2) for side in (theirs, ours)]
        rates: dict = {case: [] for case in cases}
        for _ in range(repeats):
            for side, threads in cases:
                rates[side, threads].append(side(lines, 5, epochs, threads, 1, **options)[-1])
        best = {case: max(values) for case, values in rates.items()}
        for threads in (1, 2):
            gains = [best[side, threads] / best[side, 1] for side in (theirs, ours)]
            print(
                f"| {name(algorithm, negative)} | {threads} | {best[theirs, threads] / 1e3:,.0f} | "
                f"{best[ours, threads] / 1e3:,.0f} | "
                f"{best[ours, threads] / best[theirs, threads]:.2f} | "
                f"{gains[0]:.2f} | {gains[1]:.2f} |",
                flush=True,
            )


def grid(sentences: int, seed: int) -> tuple[Lines, dict[str, list]]:
    """Make sentences about the 4 things of each of 25 places, and the analogies between them.

    A sentence has the name of one thing of one place, words of the place, words of the thing, and
    words that go with anything.
    """
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(sentences):
        place, thing = rng.integers(25), rng.integers(4)
        words = [f"name{place}.{thing}"]
        words += [f"place{place}.{k}" for k in rng.integers(0, 6, 3)]
        words += [f"thing{thing}.{k}" for k in rng.integers(0, 20, 3)]
        words += [f"any{k}" for k in (200 ** rng.random(4)).astype(int)]
        lines.append([words[k] for k in rng.permutation(len(words))])
    questions = []
    for _ in range(2000):
        (a, b), (s, t) = rng.choice(25, 2, False), rng.choice(4, 2, False)
        questions.append((f"name{a}.{s}", f"name{a}.{t}", f"name{b}.{s}", f"name{b}.{t}"))
    return Lines(lines), {"grid": questions}


def loss_of(model: Word2Vec, words: WordCounts, weights: dict, lines: Lines) -> float:
    """The loss of a prediction with these weights, over the same draws for all."""
    model = Word2Vec(model.config, words.counts)
    for key, array in weights.items():
        model.params[key][:] = array
    total, predictions = 0.0, 0
    with tempfile.TemporaryFile() as file:
        for ids, starts in Corpus(words, lines, file).parts():
            loss, n = model.learn(ids, starts, np.zeros(len(starts) - 1), 12345)
            total, predictions = total + loss, predictions + n
    return total / predictions


def quality(lines: Lines, epochs: int, seeds: int) -> None:
    """Print analogies on artificial sentences, and the loss on the text, over several seeds."""
    made, questions = grid(4_000, 0)
    print(f"\nQuality over {seeds} seeds: mean (lowest to highest)\n")
    print("| | gensim | minillm | minillm, two threads |")
    print("|---|---|---|---|")
    for algorithm, negative in FOUR:
        options = {"algorithm": algorithm, "negative": negative, "window": 5}
        options["rate"] = 0.025 if algorithm == "skip-gram" else 0.05
        scores: tuple[list, list, list] = ([], [], [])
        for seed in range(1, seeds + 1):
            small = options | {"dimension": 50, "subsample": 0}
            model, _ = theirs(made, 1, 5, 1, seed, **small)
            sides = [(model.wv.index_to_key, model.wv.vectors)]
            for threads in (1, 2):
                model, words, _ = ours(made, 1, 5, threads, seed, **small)
                sides.append((words.words, model.params["vectors"]))
            for column, (words, vectors) in zip(scores, sides, strict=True):
                right, known, _ = analogy_accuracy(Vectors(words, vectors), questions)["grid"]
                column.append(100 * right / known)
        print(f"| {name(algorithm, negative)}: analogies right, % | {_range(scores)} |", flush=True)
        losses: tuple[list, list, list] = ([], [], [])
        for seed in range(1, seeds + 1):
            real = options | {"dimension": 100, "subsample": 1e-3}
            for threads in (1, 2):
                model, words, _ = ours(lines, 5, epochs, threads, seed, **real)
                losses[threads].append(loss_of(model, words, model.params, lines))
            if not negative:
                continue  # their tree differs from ours: the losses cannot be compared
            theirs_model, _ = theirs(lines, 5, epochs, 1, seed, **real)
            order = [theirs_model.wv.key_to_index[word] for word in words.words]
            weights = {
                "vectors": theirs_model.wv.vectors[order],
                "outputs": theirs_model.syn1neg[order],
            }
            losses[0].append(loss_of(model, words, weights, lines))
        print(
            f"| {name(algorithm, negative)}: loss on the text, nats | {_range(losses)} |",
            flush=True,
        )


def _range(columns: tuple[list, ...]) -> str:
    return " | ".join(
        f"{np.mean(c):.3f} ({min(c):.3f} to {max(c):.3f})" if c else "-" for c in columns
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    text = "".join(TextStream(args.files).blocks())
    lines = Lines([line.lower().split() for line in text.split("\n") if line.strip()])
    info = kernels_info()
    raw = sum(map(len, lines.sentences))
    print(f"kernels: {info['kernels']}, {info['threads']} threads; {raw:,} raw words")
    speed(lines, args.epochs, args.repeats)
    quality(lines, args.epochs, args.seeds)


if __name__ == "__main__":
    main()
