"""``minillm plot``: pictures of runs."""

import argparse
from pathlib import Path
from typing import Any

from minillm.cli.arguments import add_run_folder
from minillm.cli.options import integer
from minillm.cli.translate import add_beam_options
from minillm.errors import InputError


def add_parser(verbs: Any) -> None:
    """Declares the verb and its pictures."""
    parser = verbs.add_parser(
        "plot",
        help="draw a picture: loss curves, word maps, attention",
        description="Draw a picture as PNG. Needs the package matplotlib.",
    )
    pictures = parser.add_subparsers(title="pictures", metavar="PICTURE", required=True)

    _add_loss(pictures)
    _add_words(pictures)
    _add_attention(pictures)


def _add_loss(pictures: Any) -> None:
    loss = pictures.add_parser(
        "loss",
        help="the loss curves of one run or more",
        description="""\
Draw the training and the validation loss of a run, by step; of several runs, their validation
losses, by minutes of training.""",
        epilog="""\
examples:
  minillm plot loss runs/cmudict
  minillm plot loss runs/cmudict runs/vector --to compared.png
""",
    )
    loss.add_argument("run_folders", nargs="+", metavar="DIR", help="the folder of a run")
    loss.add_argument(
        "--to",
        metavar="FILE",
        help="where to write it (default: DIR/loss.png; required for several runs)",
    )
    loss.set_defaults(run=run_loss)


def _add_words(pictures: Any) -> None:
    words = pictures.add_parser(
        "words",
        help="a map of word vectors",
        description="""\
Draw words on a plane by their vectors' two principal components: the most frequent words, or
those that are given.""",
        epilog="""\
examples:
  minillm plot words runs/vectors
  minillm plot words runs/vectors --count 300 --to map.png
  minillm plot words runs/vectors class function method module package
""",
    )
    add_run_folder(words, "the folder of a run of word2vec")
    words.add_argument("words", nargs="*", metavar="WORD", help="what to draw")
    words.add_argument(
        "--count", type=integer(3), default=150, metavar="N", help="how many words (default 150)"
    )
    words.add_argument("--to", metavar="FILE", help="where to write it (default: DIR/words.png)")
    words.set_defaults(run=run_words)


def _add_attention(pictures: Any) -> None:
    attention = pictures.add_parser(
        "attention",
        help="the attention weights of an encoder-decoder or a GPT",
        description="""\
Draw the attention weights as a heat map. Of an encoder-decoder: a column for each source token, a
row for each target token; of a Transformer's, the mean of the heads of the last layer but one,
where no other is asked for. Of a GPT: a row for each token, with a column for each that it sees,
in one head of one layer.""",
        epilog="""\
examples:
  minillm plot attention runs/cmudict uncharacteristically
  minillm plot attention runs/numbers "forty-two thousand and seven" --to numbers.png
  minillm plot attention runs/multi30k "a man in an orange hat ." --layer 2 --head 1
  minillm plot attention runs/gpt "the while statement" --layer 2 --head 1
""",
    )
    add_run_folder(attention, "the folder of a run")
    attention.add_argument("text", metavar="TEXT", help="the source text, or all of it")
    attention.add_argument(
        "--to", metavar="FILE", help="where to write it (default: DIR/attention.png)"
    )
    for name in ("layer", "head"):
        attention.add_argument(
            f"--{name}",
            type=integer(0),
            metavar="N",
            help=f"of a GPT or a Transformer: which {name}, from 0",
        )
    add_beam_options(attention)
    attention.set_defaults(run=run_attention)


def run_loss(args: argparse.Namespace) -> int:
    """Draws the curves and prints the picture's path."""
    from minillm.plots import loss_curve, loss_curves
    from minillm.runs.folder import RunFolder
    from minillm.runs.start import extra_of
    from minillm.runs.stored import read_config

    runs = {}
    for path in args.run_folders:
        folder = RunFolder(path)
        config = read_config(folder)
        runs[path] = folder.read_metrics()
        if not runs[path]:
            raise InputError(f"{path}: there is nothing to draw yet")
    first = next(iter(runs))
    if len(runs) > 1 and args.to is None:
        raise InputError("--to: expected a file for the picture of several runs")
    unit, extra = config.unit or "token", extra_of(config.settings, config.config)
    _write(
        Path(first) / "loss.png" if args.to is None else args.to,
        lambda: loss_curve(runs[first], unit, extra) if len(runs) == 1 else loss_curves(runs),
    )
    return 0


def run_attention(args: argparse.Namespace) -> int:
    """Translates, draws and prints the picture's path."""
    from minillm.plots import attention_map
    from minillm.runs.opening import load

    run = load(args.run_folder, args.allow_nan)
    chosen = args.layer is not None or args.head is not None
    if hasattr(run.kind, "attention") or (chosen and not hasattr(run.kind, "cross_attention")):
        own, tokens = run.attention(args.text, args.layer or 0, args.head or 0)
        path = args.to or Path(args.run_folder) / "attention.png"
        _write(path, lambda: attention_map(own, tokens, tokens))
        return 0
    found = run.hypotheses(
        [args.text],
        beam=args.beam,
        length_exponent=args.length_exponent,
        places=["TEXT"],
        keep_weights=True,
    )
    best = found[0][0]
    weights = best.hypothesis.weights
    if chosen:
        ids = [*best.hypothesis.ids, *[run.model.config.eos] * best.hypothesis.ended]
        weights = run.cross_attention(args.text, ids, args.layer, args.head)
    if weights is None:
        raise InputError(f"{args.run_folder}: this model has no attention (--attention none)")
    source = run.source.split(args.text)
    target = [run.target.show(id) for id in best.hypothesis.ids]
    target += ["(end)"] * best.hypothesis.ended
    path = Path(args.run_folder) / "attention.png" if args.to is None else args.to
    _write(path, lambda: attention_map(weights, source, target))
    print(best.text)
    return 0


def run_words(args: argparse.Namespace) -> int:
    """Draws and prints the picture's path."""
    from minillm.plots import word_map
    from minillm.runs.opening import load

    vectors = load(args.run_folder, args.allow_nan).vectors
    words = args.words or vectors.words[: args.count]
    if len(words) < 3:
        raise InputError(f"plot words: expected 3 words or more, found {len(words)}")
    places = vectors.map(words)
    path = Path(args.run_folder) / "words.png" if args.to is None else args.to
    _write(path, lambda: word_map(words, places))
    return 0


def _write(path: Any, draw: Any) -> None:
    from minillm.data.files import is_stream, write_file

    write_file(path, draw())
    if not is_stream(path):
        print(path)
