"""``minillm generate``: what a language model writes."""

import argparse
import sys
from itertools import chain
from typing import TYPE_CHECKING, Any

from minillm.cli.arguments import integer, number

if TYPE_CHECKING:
    import numpy as np

    from minillm.decoding.writer import LanguageModel
    from minillm.text import Vocabulary


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "generate",
        help="let a language model write",
        description="Let a trained language model write, a character or word at a time.",
        epilog="""\
examples:
  minillm generate runs/first
  minillm generate runs/first --prompt "The while statement" --length 1000
  minillm generate runs/first --temperature 0             always the likeliest: it will repeat
  minillm generate runs/first --temperature 1 --top-p 0.9 --seed 7
""",
    )
    parser.add_argument(
        "run_folder", metavar="DIR", help="the folder of a run of `train lm` or `train ngram`"
    )
    parser.add_argument("--prompt", metavar="TEXT", help="what to continue (default: a new line)")
    parser.add_argument(
        "--length",
        type=integer(1),
        default=500,
        metavar="N",
        help="how many characters or words to write (default 500)",
    )
    parser.add_argument(
        "--temperature",
        type=number(least=0),
        default=0.8,
        metavar="T",
        help="below 1 more careful, above 1 bolder, 0 always the likeliest (default 0.8)",
    )
    parser.add_argument(
        "--top-k", type=integer(1), metavar="K", help="draw from the K likeliest only"
    )
    parser.add_argument(
        "--top-p",
        type=number(above=0, most=1),
        metavar="P",
        help="draw from the fewest likeliest whose probabilities sum to P",
    )
    parser.add_argument(
        "--seed", type=integer(0), metavar="N", help="the same seed writes the same text"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Streams the text to standard output."""
    import numpy as np

    from minillm.cli.runs import load_config
    from minillm.training import RunFolder
    from minillm.training.language_model import load_language_model
    from minillm.training.ngram import load_ngram

    folder = RunFolder(args.run_folder)
    kind = load_config(folder, "lm", "ngram")["kind"]
    model: LanguageModel
    if kind == "ngram":
        model, vocabulary = load_ngram(folder)
    else:
        language_model, vocabulary = load_language_model(folder)
        # E W_x is worth computing where it has fewer rows than there are steps to come.
        short = len(vocabulary) < args.length
        model = language_model.one_hot() if short else language_model
    rng = np.random.default_rng(args.seed)
    choice = (args.temperature, args.top_k, args.top_p)
    write_sample(model, vocabulary, args.prompt, args.length, rng, *choice)
    return 0


def write_sample(
    model: "LanguageModel",
    vocabulary: "Vocabulary",
    prompt: str | None,
    length: int,
    rng: "np.random.Generator",
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
) -> None:
    """Writes the prompt and its continuation to standard output, each piece as it is drawn.

    Without a prompt the model starts a new line, where its vocabulary has one.
    """
    from minillm.decoding import Writer
    from minillm.text import banned_ids, opening_id

    shown = vocabulary.encode_known(prompt or "", "--prompt")
    writer = Writer(model, rng, temperature, top_k, top_p, banned_ids(vocabulary))
    writer.read(shown if len(shown) else [opening_id(vocabulary)])
    for piece in vocabulary.stream(chain(shown, writer.write(length))):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
