"""Plot loss curves, word maps or attention."""

from collections.abc import Callable
from pathlib import Path

from minillm.cli.arguments import ArgumentParser, argument, declare, run_argument
from minillm.data.files import write_file
from minillm.errors import InputError
from minillm.option import option
from minillm.plots import attention_map, loss_curve, loss_curves, word_map
from minillm.runs.config import read_config
from minillm.runs.folder import RunFolder
from minillm.runs.load import load
from minillm.runs.report import extra_of

TO = option(None, "the file (default: PICTURE.png in DIR)", "FILE")


def plot(parser: ArgumentParser) -> None:
    """Plot loss curves, word maps or attention.

    The plot is a PNG file.  This needs the package matplotlib.
    """
    pictures: dict[str, Callable[..., int]]
    pictures = {"loss": loss, "words": words, "attention": attention}
    titles = {name: (draw.__doc__ or "").partition(".")[0] for name, draw in pictures.items()}
    parser.add_words(
        "pictures", "PICTURE", titles, lambda name, p: declare(p, pictures[name]), required=True
    )


def loss(run_folders: list[str] = run_argument(), to: str | None = TO) -> int:
    """The loss curves of one run or more.

    Plot the training and the validation loss of a run by step, or the validation losses of several
    runs by minutes of training.

    examples:
      minillm plot loss runs/cmudict
      minillm plot loss runs/cmudict runs/vector --to compared.png
    """
    runs = {}
    for path in run_folders:
        folder = RunFolder(path)
        stored = read_config(folder)
        runs[path] = folder.read_metrics()
        if not runs[path]:
            raise InputError(f"{path}: there is nothing to draw yet")
    first, *others = runs
    if others and to is None:
        raise InputError("expected a file for the picture of several runs, found none", "to")
    if others:
        picture = loss_curves(runs)
    else:
        extra = extra_of(stored.settings, stored.config)
        picture = loss_curve(runs[first], stored.unit or "token", extra)
    return _write(Path(first) / "loss.png" if to is None else to, picture)


def words(
    run_folder: str = run_argument("a run of word2vec"),
    words: list[str] = argument("the words to draw", "WORD", ()),
    count: int = option(150, "draw the N most frequent words", "N", least=3, most=10**6),
    to: str | None = TO,
) -> int:
    """A map of word vectors.

    Draw words on a plane by the two principal components of their vectors: the most frequent words,
    or the WORDs.

    examples:
      minillm plot words runs/vectors
      minillm plot words runs/vectors --count 300 --to map.png
      minillm plot words runs/vectors class function method module package
    """
    run = load(run_folder)
    words = words or run.vectors.words[:count]
    if len(words) < 3:
        raise InputError(f"plot words: expected 3 words or more, found {len(words)}")
    return _write(
        run.home / "words.png" if to is None else to, word_map(words, run.vectors.map(words))
    )


def attention(
    run_folder: str = run_argument(
        "a run of seq2seq, transformer, summariser, gpt, llama, decoder, chat, bert or encoder"
    ),
    text: str = argument("the source text, or all of it", "TEXT"),
    target: str | None = option(None, "the output of a translator (default: its own)", "TEXT"),
    layer: int | None = option(
        None, "the layer, from 0 (default: the last but one)", "N", least=0, most=10**6
    ),
    head: int | None = option(
        None, "the head, from 0 (default: the mean of all)", "N", least=0, most=10**6
    ),
    to: str | None = TO,
) -> int:
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
    run = load(run_folder)
    trace = run.trace(text, **run.target_options(target))
    if not trace.attention:
        raise InputError(f"{run_folder}: this model has no attention")
    weights = trace.attention[0].weights
    layers, heads = weights.shape[:2]
    for name, value, count in (("layer", layer, layers), ("head", head, heads)):
        if value is not None and value >= count:
            raise InputError(f"expected 0 to {count - 1}, found {value}", name)
    layer = max(0, layers - 2) if layer is None else layer
    shown = weights[layer].mean(axis=0) if head is None else weights[layer, head]
    which = "mean over the heads" if head is None else f"head {head}"
    caption = f"layer {layer}, {which}" if layers * heads > 1 else ""
    lines = [f"{caption} (of {layers} layers with {heads} heads)"] if caption else []
    picture = attention_map(shown, trace.source or trace.tokens, trace.tokens, caption)
    return _write(run.home / "attention.png" if to is None else to, picture, *lines, *trace.notes)


def _write(path: str | Path, picture: bytes, *lines: str) -> int:
    """Write the plot, and print its path and lines about it."""
    write_file(path, picture)
    print(path, *lines, sep="\n")
    return 0
