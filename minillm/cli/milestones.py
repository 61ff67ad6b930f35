"""Train the history of language models on one text, each for the same time.

The n-grams of orders 1 to 10, the neural n-gram, three recurrent networks (rnn, lstm, gru) and a
GPT learn from the same text, character by character.  They are measured in bits per character on
its last tenth, which none of them has seen.  Each of the five networks is trained for M minutes,
with the defaults of its kind; counting takes a second.

DIR gets the table (milestones.md), the losses by time (milestones.svg), all figures
(milestones.json), and a run for each model.  Ctrl-C saves and stops.  The same command again
continues: what is finished is kept.

examples:
  minillm milestones --minutes 0.5
        on the Python language reference, which ships with every CPython; 3 minutes in all
  minillm milestones shakespeare.txt --minutes 5 --out runs/shakespeare
        on a text of your own; half an hour in all
  minillm generate runs/milestones/gpt
        each model is a run
"""

import argparse
from pathlib import Path

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_files, add_option, add_seed, integer, number
from minillm.data.files import write_file
from minillm.errors import InputError
from minillm.plots import milestones
from minillm.runs.milestones import PICTURE, TABLE, measure, page


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the text, the length of the trainings, and the folder."""
    add_files(parser, "UTF-8 text, any number of files (default: the built-in corpus)")
    help = "train each network for M minutes"
    add_option(parser, "--minutes M", help, number(above=0, most=1e6), 1.0)
    steps = add_option(parser, "--steps N", "train for N steps instead", integer(1, 10**12))
    add_option(parser, "--out DIR", "the folder of the results", default="runs/milestones")
    add_seed(parser, "seed of the first weights, and of the samples (default 0)")
    parser.hide(steps)


def run(args: argparse.Namespace) -> int:
    """Train what is missing, print the table, and draw the losses."""
    length = {"steps": args.steps} if args.steps else {"minutes": args.minutes}
    results = measure(args.out, args.files, length, args.seed or 0)
    if results is None:
        print("to continue: the same command again")
        return 130
    text, folder = page(results), Path(args.out)
    print(f"\n{text}")
    write_file(folder / TABLE, text.encode("utf-8", "surrogatepass"))
    try:
        write_file(folder / PICTURE, milestones(results["models"]))
    except InputError as error:
        print(f"losses by time: not drawn: {error}")
    else:
        print(f"losses by time: {folder / PICTURE}")
    return 0
