"""Translate texts, line by line, with an encoder-decoder.

Translate standard input to standard output with a run of seq2seq or transformer.  Beam search
extends the most probable hypotheses step by step; --beam 1 is the greedy choice.  The output of a
line that is empty or cannot be read is an empty line.

examples:
  echo speech | minillm translate runs/cmudict
  minillm translate runs/multi30k < english.txt > french.txt
  echo attention | minillm translate runs/cmudict --n-best 3
        number of the line, score (nats per token) and output, separated by tabs, best first
  echo attention | minillm translate runs/cmudict --temperature 1 --seed 7
        sampled at random instead
"""

import argparse
from collections.abc import Sequence

import numpy as np

from minillm.cli.arguments import ArgumentParser
from minillm.cli.lines import answered
from minillm.cli.options import (
    add_argument,
    add_option,
    add_run,
    add_seed,
    given_settings,
    integer,
    number,
    open_run,
)
from minillm.cli.process import say
from minillm.decoding import Translation
from minillm.errors import InputError
from minillm.option import types_of
from minillm.runs.settings import Search


def add_arguments(parser: ArgumentParser) -> None:
    """Declare how to search."""
    add_run(parser, "a run of seq2seq, transformer or summariser")
    for name in types_of(Search):
        add_argument(parser, Search, name)
    best = "print the N best outputs of each line, with their scores"
    add_option(parser, "--n-best N", best, integer(1, 1000))
    sample = "sample; below 1, probable tokens more often, above 1 less (default: beam search)"
    add_option(parser, "--temperature T", sample, number(least=0))
    add_seed(parser, "the same seed samples the same outputs")


def run(args: argparse.Namespace) -> int:
    """Read, decode and print, some lines at a time."""
    search = vars(Search()) | given_settings(args, Search)
    if args.n_best and args.n_best > search["beam"]:
        raise InputError(f"expected at most --beam {search['beam']}, found {args.n_best}", "n_best")
    if args.n_best and args.temperature is not None:
        raise InputError("there is one output of each line with --temperature", "n_best")
    run = open_run(args)
    options = {name: value for name, value in search.items() if value is not None}
    options |= {"temperature": args.temperature, "rng": np.random.default_rng(args.seed)}
    run.hypotheses([], **options)  # an error of the run comes before reading

    def translate(texts: Sequence[str], places: Sequence[str]) -> list[list[Translation]]:
        filled = {place: text for text, place in zip(texts, places, strict=True) if text.strip()}
        outputs = run.hypotheses([*filled.values()], places=[*filled], **options)
        found = dict(zip(filled, outputs, strict=True))
        return [found.get(place, []) for place in places]

    lines, cut, refused, empty = 0, 0, 0, []
    for text, place, outputs in answered(translate):
        lines += 1
        refused += outputs is None
        outputs = outputs or []
        cut += any(output.cut for output in outputs)
        if not text.strip():
            empty.append(place)
        if not args.n_best:
            print(_on_one_line(outputs[0].text) if outputs else "")
        for output in outputs[: args.n_best or 0]:
            print(f"{lines}\t{output.hypothesis.score:.4f}\t{_on_one_line(output.text)}")
    if empty:
        say(f"{len(empty):,} of {lines:,} lines are empty, first {empty[0]}")
    if cut:
        most = run.settings.max_source
        say(f"{cut:,} of {lines:,} sources are cut to {most:,} tokens")
    return 2 if refused else 0


def _on_one_line(text: str) -> str:
    """An output without line breaks, so that there are as many lines as in the input."""
    return " ".join(text.splitlines())
