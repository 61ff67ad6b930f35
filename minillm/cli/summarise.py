"""Summarise texts.

DIR is a run that was trained on pairs of a text and its summary, a chat model, or the name of a
method that chooses sentences of the text and needs no training: lead, the first sentences, or
textrank, those that have the most in common with the others.

Each FILE is a text, and its summary one line of the output; with several FILEs, the name of the
file and a tab precede it.  With --lines, each line is a text.  Of a text that is longer than a
model can read, the beginning is summarised.  A text that is empty or cannot be read has an empty
summary.

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
from collections.abc import Iterator, Sequence

from minillm.cli.arguments import ArgumentParser
from minillm.cli.lines import Answers, Chunk, chunks, print_answers
from minillm.cli.options import add_files, add_flag, add_run, add_settings, given_settings
from minillm.cli.process import say
from minillm.data.files import STANDARD_INPUT, shown
from minillm.data.lines import read_lines
from minillm.decoding.summaries import Length, extracted
from minillm.errors import InputError
from minillm.models.extractive import lead, textrank
from minillm.option import make
from minillm.runs.load import load
from minillm.runs.settings import SummarySearch

METHODS = {"lead": lead, "textrank": textrank}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the texts, the lengths, and how to search."""
    add_run(parser, "the folder of a run, or lead or textrank")
    add_files(parser, "UTF-8 text (default: standard input)")
    add_flag(parser, "--lines", "each line is a text, and has one line of output")
    add_settings(parser, Length, groups=())
    add_settings(parser, SummarySearch, common=["beam"], groups=())


def run(args: argparse.Namespace) -> int:
    """Read, summarise and print; what is printed stays if the rest is stopped."""
    summaries = _summaries(args)
    several = args.lines or len(args.files) > 1
    names = iter(args.files)

    def answers(texts: Sequence[str], places: Sequence[str]) -> Iterator[str | InputError | None]:
        for text, summary in zip(texts, summaries(texts, places), strict=True):
            if isinstance(summary, InputError) and not several:
                raise summary
            yield summary if text.strip() else None

    def show(number: int, text: str, summary: str | None) -> list[str]:
        line = " ".join((summary or "").split())
        return [line if args.lines or not several else f"{shown(next(names))}\t{line}"]

    texts = chunks(args.files) if args.lines else [_whole(args.files)]
    return print_answers(answers, show, texts, "texts")


def _whole(files: Sequence[str]) -> Chunk:
    """The texts of files, which are read before any work begins, and their names."""
    files = files or [STANDARD_INPUT]
    return [_text(file) for file in files], [shown(file) for file in files]


def _text(file: str) -> str:
    """The text of a file, which may be empty."""
    if os.path.isfile(file) and not os.path.getsize(file):
        return ""
    return "\n".join(line for line, _ in read_lines(file))


def _summaries(args: argparse.Namespace) -> Answers:
    """The function that summarises texts."""
    length, search = given_settings(args, Length), given_settings(args, SummarySearch)
    method = METHODS.get(args.run_folder)
    if method is None:
        opened = load(args.run_folder)
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
