"""Summarise texts.

RUN is a run that was trained on pairs of a text and its summary, a chat model, or the name of a
method that chooses sentences of the text and needs no training: lead, the first sentences, or
textrank, those that have the most in common with the others.

Each FILE is a text, and its summary one line of the output; with several FILEs, the name of the
file and a tab precede it.  With --lines, each line is a text.  A text that exceeds the context of a
chat model is summarised in parts, and then their summaries.  A text that is empty or cannot be read
has an empty summary.

examples:
  minillm summarise textrank report.txt --sentences 3
  minillm summarise runs/emails --lines emails.txt > subjects.txt
        a run of `minillm train summariser`, seq2seq or transformer
  minillm summarise runs/smol report.txt --words 60
        a chat model, such as an imported one, or one fine-tuned on pairs
  minillm summarise lead *.txt
        a folder named lead is ./lead
"""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence

from minillm.cli.arguments import ArgumentParser
from minillm.cli.lines import chunks
from minillm.cli.options import (
    add_argument,
    add_files,
    add_flag,
    add_run,
    given_settings,
    open_run,
)
from minillm.cli.process import say
from minillm.data.files import STANDARD_INPUT, shown
from minillm.data.lines import read_lines
from minillm.decoding.summaries import Length, extracted
from minillm.errors import InputError
from minillm.models.extractive import lead, textrank
from minillm.option import make, types_of
from minillm.runs.settings import SummarySearch

METHODS = {"lead": lead, "textrank": textrank}

# Of texts and their places: a summary of each, or why there is none.
Summaries = Callable[[Sequence[str], Sequence[str]], Iterator[str | InputError]]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the texts, the lengths, and how to search."""
    add_run(parser, "the folder of a run, or lead or textrank", "RUN")
    add_files(parser, "UTF-8 text (default: standard input)")
    add_flag(parser, "--lines", "each line is a text, and has one line of output")
    for name in types_of(Length):
        add_argument(parser, Length, name)
    for name in types_of(SummarySearch):
        action = add_argument(parser, SummarySearch, name)
        if name != "beam":
            parser.hide(action)


def run(args: argparse.Namespace) -> int:
    """Read, summarise and print; what is printed stays if the rest is stopped."""
    summaries = _summaries(args)
    several = args.lines or len(args.files) > 1
    count, refused, empty = 0, 0, []
    for texts, places in chunks(args.files) if args.lines else [_whole(args.files)]:
        count += len(texts)
        for text, place, summary in zip(texts, places, summaries(texts, places), strict=True):
            if isinstance(summary, InputError):
                if not several:
                    raise summary
                if text.strip():
                    say(str(summary))
                    refused += 1
                else:
                    empty.append(place)
                summary = ""
            line = " ".join(summary.split())
            print(line if args.lines or not several else f"{place}\t{line}", flush=True)
    if empty:
        say(f"{len(empty):,} of {count:,} texts are empty, first {empty[0]}")
    return 2 if refused else 0


def _whole(files: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The texts of files, which are read before any work begins, and their names."""
    files = files or [STANDARD_INPUT]
    return [_text(file) for file in files], [shown(file) for file in files]


def _text(file: str) -> str:
    """The text of a file, which may be empty."""
    if os.path.isfile(file) and not os.path.getsize(file):
        return ""
    return "\n".join(line for line, _ in read_lines(file))


def _summaries(args: argparse.Namespace) -> Summaries:
    """The function that summarises texts."""
    length, search = given_settings(args, Length), given_settings(args, SummarySearch)
    method = METHODS.get(args.run_folder)
    if method is None:
        opened = open_run(args)
        opened.summaries([], **length, **search)  # an error of the run comes before reading
        return lambda texts, places: opened.summaries(
            texts, places=places, report=say, **length, **search
        )
    for name in search:
        raise InputError(f"expected a run that was trained on pairs, found {args.run_folder}", name)
    limits = make(Length, length)
    return lambda texts, places: (
        extracted(method, text, limits)
        or InputError(f"{place}: expected a text with words, found none")
        for text, place in zip(texts, places, strict=True)
    )
