"""Answer questions from a text.

Answer QUESTIONs, or the lines of standard input, with parts of the text of --context, by a run of
qa.  Each line of output is the answer, its probability among the best candidates, and its place,
separated by tabs.  A run that was also trained on unanswerable questions may give no answer.

examples:
  minillm answer runs/qa --context page.txt "What is the default of limit?"
  minillm answer runs/qa --context page.txt < questions.txt
  minillm answer runs/qa --context page.txt "What does it return?" --n-best 3
        number of the question, probability, answer and place, best first
  minillm answer runs/qa --context page.txt --json < questions.txt
        one object per line: {"question": ..., "answer": ..., "probability": ..., "start": ...,
        "end": ...}; start and end count characters from 0
"""

import argparse
import json
from collections.abc import Iterator
from typing import Any

from minillm.cli.arguments import ArgumentParser
from minillm.cli.lines import chunks, print_answers
from minillm.cli.options import add_files, add_flag, add_option, add_run, integer
from minillm.data import read_text
from minillm.errors import InputError
from minillm.runs.load import load


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the questions and the text."""
    add_run(parser, "a run of qa")
    add_files(parser, "questions (default: the lines of standard input)", "QUESTION")
    context = "the text with the answers, - for standard input"
    add_option(parser, "--context FILE", context, required=True)
    add_option(parser, "--n-best N", "print the N best answers", integer(1, 1000))
    add_flag(parser, "--json", "print one JSON object per line")


def run(args: argparse.Namespace) -> int:
    """Read, answer and print, some questions at a time."""
    if args.context == "-" and not args.files:
        raise InputError("expected a file, as standard input has the questions", "context")
    answers_of = load(args.run_folder).answers
    context = read_text([args.context])

    def show(number: int, question: str, answers: list[Any]) -> Iterator[str]:
        for text, probability, start, end in answers:
            if args.json:
                values = {"question": question, "answer": text, "probability": probability}
                yield json.dumps(values | {"start": start, "end": end}, ensure_ascii=False)
                continue
            shown = [f"{probability:.4f}", " ".join(text.split())]
            shown = [f"{number}", *shown] if args.n_best else shown[::-1]
            yield "\t".join([*shown, _place(start, context)])

    return print_answers(
        lambda questions, places: answers_of(questions, context, args.n_best or 1),
        show,
        [(args.files, args.files)] if args.files else chunks(),
    )


def _place(start: int | None, context: str) -> str:
    """The line and the column of a character, as editors count them."""
    if start is None:
        return "no answer"
    line, column = context.count("\n", 0, start) + 1, start - context.rfind("\n", 0, start)
    return f"line {line}, column {column}"
