"""Translate texts, line by line, with an encoder-decoder.

Translate standard input to standard output with a run of seq2seq or transformer.  Beam search
extends the most probable hypotheses step by step; --beam 1 is the greedy choice.  The output of a
line that is empty or cannot be read is an empty line.

examples:
  echo speech | minillm translate runs/cmudict
  minillm translate runs/multi30k < english.txt > french.txt
  echo attention | minillm translate runs/cmudict --n-best 3
        number of the line, score (nats per token) and output, separated by tabs, best first
"""

import argparse
from collections.abc import Sequence

from minillm.cli.arguments import ArgumentParser
from minillm.cli.lines import chunks, print_answers, separately
from minillm.cli.options import (
    add_option,
    add_run,
    add_settings,
    given_settings,
    integer,
)
from minillm.cli.process import say
from minillm.decoding import Translation
from minillm.errors import InputError
from minillm.runs.load import load
from minillm.runs.settings import Search


def add_arguments(parser: ArgumentParser) -> None:
    """Declare how to search."""
    add_run(parser, "a run of seq2seq, transformer or summariser")
    add_settings(parser, Search, groups=())
    best = "print the N best outputs of each line, with their scores"
    add_option(parser, "--n-best N", best, integer(1, 1000))


def run(args: argparse.Namespace) -> int:
    """Read, decode and print, some lines at a time."""
    search = vars(Search()) | given_settings(args, Search)
    if args.n_best and args.n_best > search["beam"]:
        raise InputError(f"expected at most --beam {search['beam']}, found {args.n_best}", "n_best")
    run = load(args.run_folder)
    options = {name: value for name, value in search.items() if value is not None}
    run.hypotheses([], **options)  # an error of the run comes before reading
    lines = cut = 0

    def translate(texts: Sequence[str], places: Sequence[str]) -> list[list[Translation] | None]:
        filled = {place: text for text, place in zip(texts, places, strict=True) if text.strip()}
        outputs = run.hypotheses([*filled.values()], places=[*filled], **options)
        found = dict(zip(filled, outputs, strict=True))
        return [found.get(place) for place in places]

    def show(number: int, text: str, outputs: list[Translation] | None) -> list[str]:
        nonlocal lines, cut
        outputs = outputs or []
        lines, cut = number, cut + any(output.cut for output in outputs)
        shown = [" ".join(output.text.splitlines()) for output in outputs]
        if not args.n_best:
            return shown[:1] or [""]
        scores = [f"{output.hypothesis.score:.4f}" for output in outputs]
        best = list(zip(scores, shown, strict=True))[: args.n_best]
        return [f"{number}\t{score}\t{output}" for score, output in best]

    status = print_answers(separately(translate), show, chunks())
    if cut:
        say(f"{cut:,} of {lines:,} sources are cut to {run.settings.max_source:,} tokens")
    return status
