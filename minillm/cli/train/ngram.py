"""``minillm train ngram``: count, and smooth."""

import argparse
from typing import Any

from minillm.cli.arguments import integer, number, size
from minillm.cli.runs import settle
from minillm.data.registry import absolute

DEFAULTS: dict[str, Any] = {
    "unit": "word",
    "order": 5,
    "smoothing": "kneser-ney",
    "k": 0.1,
    "prune": (0,),
    "minimum_count": 2,
    "vocabulary": None,
    "pretokenised": None,
    "memory": 2 << 30,
}


def add_parser(kinds: Any) -> None:
    """Declares the kind and its options."""
    parser = kinds.add_parser(
        "ngram",
        help="an n-gram model: counted, not trained",
        description="""\
Count the n-grams of a text and smooth the counts into probabilities: the language model of
the years before recurrent networks.  The last tenth of the text is held out, to measure how
well it does on what it never saw.  Of words, each line is a sentence.""",
        epilog="""\
examples:
  minillm train ngram --out runs/words
        5-grams of words, on the Python language reference that ships with every CPython
  minillm train ngram shakespeare.txt --unit character --order 7 --out runs/characters
  minillm train ngram shakespeare.txt --order 3 --smoothing witten-bell --out runs/wb
  minillm train ngram large.txt --prune 0 0 1 --memory 4G --out runs/large
        from the 3-grams on, those seen once are left out; counted in runs on the disk

then: minillm generate DIR, minillm eval DIR, minillm export DIR model.arpa
""",
    )

    def shown(name: str) -> str:
        return f"(default {DEFAULTS[name]})"

    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="UTF-8 text, any number of files, - for standard input; none: the built-in corpus",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to be made")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--order",
        type=integer(1, 20),
        metavar="N",
        help=f"how long the longest n-grams are {shown('order')}",
    )
    model.add_argument(
        "--smoothing",
        choices=("kneser-ney", "absolute", "witten-bell", "add-k", "mle"),
        help=f"how unseen n-grams get their share; kneser-ney is the modified one "
        f"{shown('smoothing')}",
    )
    model.add_argument(
        "--k", type=number(above=0), metavar="K", help=f"what add-k adds {shown('k')}"
    )
    model.add_argument(
        "--prune",
        type=integer(0),
        nargs="+",
        metavar="C",
        help="leave out n-grams seen at most C times: for the 2-grams, the 3-grams and so on, the "
        "last for all longer ones (default 0: none)",
    )
    text = parser.add_argument_group("the text")
    text.add_argument(
        "--unit", choices=("character", "word"), help=f"what n-grams are of {shown('unit')}"
    )
    text.add_argument(
        "--minimum-count",
        type=integer(1),
        metavar="N",
        help=f"words seen less often become the unknown word {shown('minimum_count')}",
    )
    text.add_argument(
        "--vocabulary",
        type=integer(2, 100_000_000),
        metavar="N",
        help="keep at most the N most frequent words (default: all)",
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
        help="what counting may take for what is as long as the text: beyond it, sorted runs are "
        "put on the disk and merged (default 2G)",
    )
    parser.set_defaults(run=run, resume=False)


def run(args: argparse.Namespace) -> int:
    """Counts, smooths, saves, and measures on the held-out text."""
    import sys
    import time

    from minillm.cli.measures import ngram_results
    from minillm.data.registry import open_text
    from minillm.errors import InputError
    from minillm.training import RunFolder
    from minillm.training.ngram import save_ngram, train_ngram

    settings, _ = settle(args, "ngram", DEFAULTS)
    prune = [*settings["prune"]]
    if sorted(prune) != prune:
        raise InputError(f"--prune: expected counts that do not fall, found {prune}")
    start = time.perf_counter()
    text = open_text(args.files)
    cut = text.characters * 9 // 10
    trained = train_ngram(
        text,
        text.characters - cut,
        settings["unit"],
        settings,
        report=lambda line: print(line, file=sys.stderr),
    )
    seconds = time.perf_counter() - start
    print(
        f"{trained.tokens:,} tokens in {seconds:.1f} s, {trained.tokens / seconds:,.0f} tokens/s",
        file=sys.stderr,
    )
    data = {"files": [absolute(file) for file in args.files], "sha256": text.sha256}
    save_ngram(RunFolder(args.out), trained, settings, data)
    sizes = enumerate(trained.model.config.sizes, start=1)
    print(", ".join(f"{size:,} {n}-grams" for n, size in sizes))
    results = ngram_results(
        trained.model, trained.vocabulary, text.blocks(start=cut), "the held-out last tenth"
    )
    for key in ("bits_per_token", "perplexity"):
        print(f"held-out {key.replace('_', ' ')}: {results[key]:.4f}")
    print(f"saved in {args.out}")
    return 0
