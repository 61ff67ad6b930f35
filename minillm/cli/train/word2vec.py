"""``minillm train word2vec``: a vector for each word."""

import argparse
from dataclasses import asdict
from typing import Any

from minillm.cli.arguments import integer, number, size
from minillm.cli.runs import settle
from minillm.data.registry import absolute
from minillm.errors import InputError

DEFAULTS: dict[str, Any] = {
    "algorithm": "skip-gram",
    "dimension": 100,
    "window": 5,
    "negative": 5,
    "hierarchical_softmax": None,
    "cbow_sum": None,
    "subsample": 1e-3,
    "minimum_count": 5,
    "pretokenised": None,
    "epochs": 20,
    "learning_rate": None,
    "final_rate": 1e-4,
    "threads": 1,
    "seed": 0,
    "memory": 1 << 30,
    "checkpoint_seconds": 30.0,
}


def add_parser(kinds: Any) -> None:
    """Declares the kind and its options."""
    parser = kinds.add_parser(
        "word2vec",
        help="word vectors: skip-gram or CBOW",
        description="""\
Learn a vector for each word from the words around it, so that words of like use lie close.
Each line of the text is a sentence.  Files of any size: they are read as streams.""",
        epilog="""\
examples:
  minillm train word2vec --out runs/vectors
        on the Python language reference, which ships with every CPython
  minillm train word2vec shakespeare.txt --out runs/bard --epochs 40 --threads 2
  minillm train word2vec text8 --pretokenised --algorithm cbow --out runs/cbow
  minillm train word2vec --out runs/bard --resume
        go on after Ctrl-C; with one thread, bit for bit

then: minillm similar DIR WORD, minillm analogy DIR A B C, minillm plot words DIR,
      minillm export DIR vectors.txt
""",
    )

    def shown(name: str) -> str:
        return f"(default {DEFAULTS[name]:g})"

    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="UTF-8 text, any number of files, - for standard input; none: the built-in corpus",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the run's folder, made anew")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with the run in DIR")
    existing.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--algorithm",
        choices=("skip-gram", "cbow"),
        help="a word predicts its neighbours, or they predict it (default skip-gram)",
    )
    model.add_argument(
        "--dimension", type=integer(1, 65536), metavar="D", help=f"of a vector {shown('dimension')}"
    )
    model.add_argument(
        "--window",
        type=integer(1, 1000),
        metavar="N",
        help=f"neighbours lie up to N words away; how far, is drawn anew each time "
        f"{shown('window')}",
    )
    telling = model.add_mutually_exclusive_group()
    telling.add_argument(
        "--negative",
        type=integer(1, 1000),
        metavar="N",
        help=f"words drawn at random to tell a true neighbour from {shown('negative')}",
    )
    telling.add_argument(
        "--hierarchical-softmax",
        action="store_true",
        default=None,
        help="predict along the paths of a Huffman tree instead",
    )
    model.add_argument(
        "--cbow-sum", action="store_true", default=None, help="cbow sums its window, not averages"
    )
    text = parser.add_argument_group("the text")
    text.add_argument(
        "--minimum-count",
        type=integer(1),
        metavar="N",
        help=f"words seen less often are left out {shown('minimum_count')}",
    )
    text.add_argument(
        "--subsample",
        type=number(least=0, below=1),
        metavar="SHARE",
        help=f"thin out words that are a larger share of the text; 0: none {shown('subsample')}",
    )
    text.add_argument(
        "--pretokenised",
        action="store_true",
        default=None,
        help="words stand between spaces already; do not split off punctuation",
    )
    text.add_argument(
        "--memory",
        type=size,
        metavar="SIZE",
        help="what the text may take, as numbers; the rest of it waits on the disk (default 1G)",
    )
    run_group = parser.add_argument_group("the run")
    run_group.add_argument(
        "--epochs",
        type=integer(1),
        metavar="N",
        help=f"how often the text is read {shown('epochs')}",
    )
    run_group.add_argument(
        "--learning-rate",
        type=number(above=0),
        metavar="R",
        help="at the start; it falls in a straight line (default 0.025, cbow 0.05)",
    )
    run_group.add_argument(
        "--final-rate", type=number(above=0), metavar="R", help=f"at the end {shown('final_rate')}"
    )
    run_group.add_argument(
        "--threads",
        type=integer(1, 1024),
        metavar="N",
        help="step over the same weights without locks; from 2 on, a seed no longer fixes the "
        f"bits {shown('threads')}",
    )
    run_group.add_argument("--seed", type=integer(0), metavar="N", help=f"{shown('seed')}")
    run_group.add_argument(
        "--checkpoint-seconds",
        type=number(least=0),
        metavar="S",
        help=f"save for --resume every S seconds {shown('checkpoint_seconds')}",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Counts the words, trains, saves, and says what it has come to."""
    import numpy as np

    from minillm.data.registry import open_text
    from minillm.data.streams import Spill
    from minillm.models.word2vec import Word2Vec, Word2VecConfig
    from minillm.training import RunFolder
    from minillm.training.progress import minutes_and_seconds
    from minillm.training.word2vec import (
        Corpus,
        Progress,
        Run,
        count_words,
        load_word2vec,
        restore_progress,
        save_progress,
        save_vocabulary,
        train_word2vec,
    )

    settings, config = settle(args, "word2vec", DEFAULTS)
    folder = RunFolder(args.out)
    if settings["learning_rate"] is None:
        settings["learning_rate"] = 0.025 if settings["algorithm"] == "skip-gram" else 0.05
    files = args.files if args.files or not config else config["data"]["files"]
    text = open_text(files)
    data = {"files": [absolute(file) for file in files], "sha256": text.sha256}
    if config:
        if text.sha256 != config["data"].get("sha256"):
            raise InputError(f"{', '.join(files)}: the text has changed since the run was started")
        trained = load_word2vec(folder, weights=False)
        progress = restore_progress(folder, trained.model)
    else:
        pretokenised = bool(settings["pretokenised"])
        words, counts = count_words(text, settings["minimum_count"], pretokenised)
        sizes = Word2VecConfig(
            vocabulary=len(words),
            dimension=settings["dimension"],
            algorithm=settings["algorithm"],
            mean=not settings["cbow_sum"],
            window=settings["window"],
            negative=0 if settings["hierarchical_softmax"] else settings["negative"],
            subsample=settings["subsample"],
        )
        model = Word2Vec(sizes, counts, np.random.default_rng(settings["seed"]))
        trained, progress = Run(model, words, counts, pretokenised), Progress()

    with Spill() as spill:
        corpus = Corpus(trained, text, spill, settings["memory"])
        if not config:
            folder.clear()
            save_vocabulary(folder, trained)
            save_progress(folder, trained.model, progress)
        config = {
            "kind": "word2vec",
            "model": asdict(trained.model.config),
            "training": settings,
            "data": data,
        }
        folder.save_json("config.json", config)
        finished = train_word2vec(trained, corpus, settings, folder, progress)
    seconds = max(progress.seconds, 1e-9)
    print(
        f"{'trained' if finished else 'stopped'} after {progress.words:,} words in "
        f"{minutes_and_seconds(seconds)}, {progress.words / seconds:,.0f} words/s"
    )
    if not finished:
        print(f"to go on: minillm train word2vec --out {args.out} --resume")
        return 130
    records = folder.read_metrics()
    print(f"{len(trained.words):,} vectors; loss {records[-1]['loss']:.4f} nats per prediction")
    print(f"saved in {args.out}")
    return 0
