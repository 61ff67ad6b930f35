"""``minillm translate``: what an encoder-decoder writes for each line that it reads."""

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from minillm.cli.arguments import integer, number

if TYPE_CHECKING:
    from minillm.decoding import Translator

_CHUNK = 1024  # lines that are read before the first is answered: they are sorted by length


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "translate",
        help="let an encoder-decoder answer, line by line",
        description="""\
Translate standard input to standard output, line by line, with a run of `train seq2seq`.
Beam search extends the K most probable hypotheses at every step; --beam 1 is the greedy choice.""",
        epilog="""\
examples:
  echo speech | minillm translate runs/cmudict
  minillm translate runs/multi30k < english.txt > french.txt
  echo attention | minillm translate runs/cmudict --n-best 3
        line, score (nats per token) and output, tab between them, best first
  echo attention | minillm translate runs/cmudict --temperature 1 --seed 7
        drawn at random instead
""",
    )
    parser.add_argument("run_folder", metavar="DIR", help="the folder of a run of `train seq2seq`")
    add_beam_options(parser)
    parser.add_argument(
        "--n-best",
        type=integer(1, 1000),
        metavar="N",
        help="print the N best outputs of each line, with their scores",
    )
    parser.add_argument(
        "--temperature",
        type=number(least=0),
        metavar="T",
        help="draw at random: below 1 more careful, above 1 bolder",
    )
    parser.add_argument(
        "--seed", type=integer(0), metavar="N", help="the same seed draws the same outputs"
    )
    parser.set_defaults(run=run)


def add_beam_options(parser: argparse.ArgumentParser) -> None:
    """Declares what all verbs that search share."""
    parser.add_argument(
        "--beam",
        type=integer(1, 1000),
        default=5,
        metavar="K",
        help="how many hypotheses to keep at every step (default 5)",
    )
    parser.add_argument(
        "--length-exponent",
        type=number(least=0),
        default=1.0,
        metavar="A",
        help="rank outputs by log probability / length^A (default 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Reads, decodes and prints, some lines at a time."""
    import numpy as np

    from minillm.data.lines import read_lines
    from minillm.errors import InputError

    if args.n_best and args.n_best > args.beam:
        raise InputError(f"--n-best: expected at most --beam {args.beam}, found {args.n_best}")
    if args.n_best and args.temperature is not None:
        raise InputError("--n-best: there is one output of each line with --temperature")
    translator = load_translator(args.run_folder)
    rng = np.random.default_rng(args.seed)
    lines = read_lines("-")
    number = 0
    for chunk in chunks(lines, 1 if sys.stdin.isatty() else _CHUNK):
        texts, places = zip(*chunk, strict=True)
        outputs = translator.translate(
            texts, args.beam, args.length_exponent, args.temperature, rng, places
        )
        for found in outputs:
            number += 1
            if args.n_best:
                for output in found[: args.n_best]:
                    print(f"{number}\t{output.hypothesis.score:.4f}\t{output.text}")
            else:
                print(found[0].text)
        sys.stdout.flush()
    return 0


def load_translator(run_folder: str) -> "Translator":
    """The best model of a run, ready for texts."""
    from minillm.cli.runs import load_config
    from minillm.decoding import Translator
    from minillm.training import RunFolder
    from minillm.training.encoder_decoder import load_encoder_decoder

    folder = RunFolder(run_folder)
    config = load_config(folder, "seq2seq")
    model, source, target = load_encoder_decoder(folder)
    longest, limit = config["training"]["max_length"], config["data"]["longest_target"]
    return Translator(model, source, target, longest, limit)


def chunks(lines: Iterator[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    """Lists of ``size`` lines, the last one shorter."""
    while chunk := list(islice(lines, size)):
        yield chunk
