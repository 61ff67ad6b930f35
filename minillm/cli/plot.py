"""Plot loss curves, word maps or attention.

The plot is a PNG file.  This needs the package matplotlib.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minillm.cli.arguments import ArgumentParser, title_of
from minillm.cli.options import add_option, add_run, integer
from minillm.data.files import write_file
from minillm.errors import InputError
from minillm.plots import attention_map, loss_curve, loss_curves, word_map
from minillm.runs.config import read_config
from minillm.runs.folder import RunFolder
from minillm.runs.load import load
from minillm.runs.report import extra_of


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the plots: the docstring of each function that draws one is its help page."""
    pictures = parser.add_subparsers(title="pictures", metavar="PICTURE", required=True)

    def add(name: str, draw: Callable[..., None]) -> ArgumentParser:
        picture = pictures.add_parser(name, help=title_of(draw.__doc__ or ""))
        picture.set_page(draw)
        add_option(picture, "--to FILE", f"the file (default: DIR/{name}.png)")
        picture.set_defaults(draw=draw, picture=f"{name}.png")
        return picture

    loss = add("loss", draw_loss)
    loss.add_argument("run_folders", nargs="+", metavar="DIR", help="the folder of a run")
    words = add("words", draw_words)
    add_run(words, "a run of word2vec")
    words.add_argument("words", nargs="*", metavar="WORD", help="the words to draw")
    add_option(words, "--count N", "draw the N most frequent words", integer(3), 150)
    attention = add("attention", draw_attention)
    pairs = "seq2seq, transformer, summariser"
    add_run(attention, f"a run of {pairs}, gpt, llama, decoder, chat, bert or encoder")
    attention.add_argument("text", metavar="TEXT", help="the source text, or all of it")
    output = "the output of a translator (default: its own)"
    add_option(attention, "--target TEXT", output)
    add_option(attention, "--layer N", "the layer, from 0 (default: the last but one)", integer(0))
    add_option(attention, "--head N", "the head, from 0 (default: the mean of all)", integer(0))


def run(args: argparse.Namespace) -> int:
    """Draw the plot and print its path."""
    args.draw(args)
    return 0


def draw_loss(args: argparse.Namespace) -> None:
    """The loss curves of one run or more.

    Plot the training and the validation loss of a run by step, or the validation losses of several
    runs by minutes of training.

    examples:
      minillm plot loss runs/cmudict
      minillm plot loss runs/cmudict runs/vector --to compared.png
    """
    runs = {}
    for path in args.run_folders:
        folder = RunFolder(path)
        stored = read_config(folder)
        runs[path] = folder.read_metrics()
        if not runs[path]:
            raise InputError(f"{path}: there is nothing to draw yet")
    first, *others = runs
    if others and args.to is None:
        raise InputError("expected a file for the picture of several runs, found none", "to")
    if others:
        picture = loss_curves(runs)
    else:
        extra = extra_of(stored.settings, stored.config)
        picture = loss_curve(runs[first], stored.unit or "token", extra)
    _write(args, first, picture)


def draw_words(args: argparse.Namespace) -> None:
    """A map of word vectors.

    Draw words on a plane by the two principal components of their vectors: the most frequent words,
    or the WORDs.

    examples:
      minillm plot words runs/vectors
      minillm plot words runs/vectors --count 300 --to map.png
      minillm plot words runs/vectors class function method module package
    """
    run = load(args.run_folder)
    vectors = run.vectors
    words = args.words or vectors.words[: args.count]
    if len(words) < 3:
        raise InputError(f"plot words: expected 3 words or more, found {len(words)}")
    _write(args, run.home, word_map(words, vectors.map(words)))


def draw_attention(args: argparse.Namespace) -> None:
    """The attention weights of an encoder-decoder, a GPT or a BERT.

    Draw attention weights as a heat map: the mean over the heads of the last layer but one, unless
    --layer or --head is given.  An encoder-decoder has a column for each source token and a row for
    each token of its translation, any other model a row for each token and a column for each token
    that it attends to.  The page of `minillm look` has all heads.

    examples:
      minillm plot attention runs/cmudict uncharacteristically
      minillm plot attention runs/numbers "forty-two thousand and seven" --to numbers.png
      minillm plot attention runs/multi30k "a man in an orange hat ." --layer 2 --head 1
      minillm plot attention runs/gpt "the while statement" --layer 2 --head 1
    """
    run = load(args.run_folder)
    trace = run.trace(args.text, **run.target_options(args.target))
    if not trace.attention:
        raise InputError(f"{args.run_folder}: this model has no attention")
    weights = trace.attention[0].weights
    layers, heads = weights.shape[:2]
    for name, value, count in (("layer", args.layer, layers), ("head", args.head, heads)):
        if value is not None and value >= count:
            raise InputError(f"expected 0 to {count - 1}, found {value}", name)
    layer = max(0, layers - 2) if args.layer is None else args.layer
    if args.head is None:
        weights, head = weights[layer].mean(axis=0), "mean over the heads"
    else:
        weights, head = weights[layer, args.head], f"head {args.head}"
    caption = f"layer {layer}, {head}" if layers * heads > 1 else ""
    lines = [f"{caption} (of {layers} layers with {heads} heads)"] if caption else []
    picture = attention_map(weights, trace.source or trace.tokens, trace.tokens, caption)
    _write(args, run.home, picture, *lines, *trace.notes)


def _write(args: argparse.Namespace, folder: str | Path, picture: bytes, *lines: str) -> None:
    """Write the plot, and print its path and lines about it."""
    path: Any = Path(folder) / args.picture if args.to is None else args.to
    write_file(path, picture)
    print(path, *lines, sep="\n")
