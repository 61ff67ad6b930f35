"""``minillm eval``: how well a model does on text that it was not trained on."""

import argparse
import json
from typing import Any

from minillm.errors import InputError


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "eval",
        help="measure a model on held-out text",
        description="""\
Measure a model: nats and bits per token and perplexity, on the last tenth of the text that it
was trained on, which was held out; or on all of the FILEs.""",
        epilog="""\
examples:
  minillm eval runs/first
  minillm eval runs/first other.txt --json
  cat *.txt | minillm eval runs/first -
""",
    )
    parser.add_argument("run_folder", metavar="DIR", help="the folder of a run")
    parser.add_argument("files", nargs="*", metavar="FILE", help="UTF-8 text, - for standard input")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the figures."""
    from minillm.cli.train import load_config
    from minillm.cli.train.lm import read_training_text
    from minillm.data import read_text, split_text
    from minillm.metrics import bits, perplexity
    from minillm.text import Words
    from minillm.training import RunFolder
    from minillm.training.language_model import evaluate, load_language_model

    folder = RunFolder(args.run_folder)
    config = load_config(folder, "lm")
    model, vocabulary = load_language_model(folder)
    if args.files:
        name = ", ".join(args.files)
        text = read_text(args.files)
    elif "-" in config["data"]["files"]:
        raise InputError(
            f"{args.run_folder}: it was trained on standard input, which is not kept: "
            "give the text to measure it on as FILE"
        )
    else:
        name = "the held-out last tenth of " + (
            ", ".join(config["data"]["files"]) or "the built-in corpus"
        )
        text = split_text(read_training_text(config["data"]))[1]

    ids = vocabulary.encode(text, name)
    settings = config["training"]
    nats, tokens = evaluate(model, ids, settings["batch"], settings["window"])
    results: dict[str, Any] = {
        "text": name,
        "unit": vocabulary.unit,
        "tokens": tokens,
        "nats_per_token": nats,
        "bits_per_token": bits(nats),
        "perplexity": perplexity(nats),
    }
    if isinstance(vocabulary, Words):
        results["unknown_share"] = float((ids == vocabulary.unknown).mean())
    if args.json:
        print(json.dumps(results))
    else:
        for key, value in results.items():
            shown = f"{value:.4f}" if isinstance(value, float) else value
            print(f"{key.replace('_', ' '):16}{shown}")
    return 0
