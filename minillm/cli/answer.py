"""``minillm answer``: the answers to questions, as they stand in a text."""

import argparse
import json
import sys
from itertools import count
from typing import Any

from minillm.cli.arguments import add_run_folder
from minillm.cli.options import integer


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "answer",
        help="answer questions from a text",
        description="""\
Answer QUESTIONs, or the lines of standard input, with pieces of the text that --context names, by a
run of `train qa`.  Printed are the answer, its probability among the best candidates, and where it
stands, separated by tabs.  A run that was trained on questions without an answer may find none.""",
        epilog="""\
examples:
  minillm answer runs/qa --context page.txt "What is the default of limit?"
  minillm answer runs/qa --context page.txt < questions.txt
  minillm answer runs/qa --context page.txt "What does it return?" --n-best 3
        number of the question, probability, answer and place, best first
  minillm answer runs/qa --context page.txt --json < questions.txt
        one object a line: {"question": ..., "answer": ..., "probability": ..., "start": ...,
        "end": ...}; the characters from start to end, counted from 0
""",
    )
    add_run_folder(parser, "the folder of a run of `train qa`")
    parser.add_argument(  # as files are for other verbs, which may stand behind an option, too
        "files", nargs="*", metavar="QUESTION", help="(default: the lines of standard input)"
    )
    parser.add_argument(
        "--context",
        required=True,
        metavar="FILE",
        help="the text that has the answers, - for standard input",
    )
    parser.add_argument(
        "--n-best", type=integer(1, 1000), metavar="N", help="print the N best answers"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.set_defaults(run=run, several_files=True)


def run(args: argparse.Namespace) -> int:
    """Reads, answers and prints, some questions at a time."""
    from minillm.cli.lines import chunks
    from minillm.data import read_text
    from minillm.errors import InputError
    from minillm.runs.opening import load

    given = getattr(args, "files", [])
    if args.context == "-" and not given:
        raise InputError("--context: expected a file, as standard input has the questions")
    opened = load(args.run_folder, args.allow_nan)
    opened.answers([], "")  # whether this run can answer, before anything is read
    context = read_text([args.context])
    numbers = count(1)
    for questions in [given] if given else (texts for texts, _ in chunks()):
        found = opened.answers(questions, context, args.n_best or 1)
        for question, answers in zip(questions, found, strict=True):
            number = next(numbers)
            for answer in answers:
                if args.json:
                    print(json.dumps({"question": question} | asdict(answer), ensure_ascii=False))
                    continue
                text, probability = " ".join(answer.text.split()), f"{answer.probability:.4f}"
                shown = [f"{number}", probability, text] if args.n_best else [text, probability]
                print(*shown, place_of(answer.start, context), sep="\t")
        sys.stdout.flush()
    return 0


def asdict(answer: Any) -> dict[str, Any]:
    """An answer as JSON has it."""
    text, probability, start, end = answer
    return {"answer": text, "probability": probability, "start": start, "end": end}


def place_of(start: int | None, context: str) -> str:
    """The line and the column of a character, as editors count them."""
    if start is None:
        return "no answer"
    line, column = context.count("\n", 0, start) + 1, start - context.rfind("\n", 0, start)
    return f"line {line}, column {column}"
