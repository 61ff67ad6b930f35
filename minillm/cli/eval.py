"""``minillm eval``: how well a model does on data that it was not trained on."""

import argparse
import json
from typing import Any

from minillm.cli.translate import add_beam_options
from minillm.errors import InputError


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "eval",
        help="measure a model on held-out data",
        description="""\
Measure a model on the data that were held out when it was trained, or on all of the FILEs.
A language model: nats and bits per token, perplexity. An encoder-decoder: also exact outputs,
token errors, BLEU, chrF and ROUGE. A classifier: accuracy, macro-F1 and who is taken for whom.""",
        epilog="""\
examples:
  minillm eval runs/first
  minillm eval runs/first other.txt --json
  cat *.txt | minillm eval runs/first -
  minillm eval runs/cmudict --part test --beam 5
  minillm eval runs/multi30k val.tsv
""",
    )
    parser.add_argument("run_folder", metavar="DIR", help="the folder of a run")
    parser.add_argument("files", nargs="*", metavar="FILE", help="UTF-8 text, - for standard input")
    parser.add_argument(
        "--part",
        choices=("validation", "test"),
        help="of a built-in set: what to measure on (default validation)",
    )
    add_beam_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the figures."""
    from minillm.cli import measures
    from minillm.cli.runs import KINDS, load_config
    from minillm.training import RunFolder

    config = load_config(RunFolder(args.run_folder), *KINDS)
    if config["kind"] == "lm":
        results = _language_model(args, config)
    else:
        results = getattr(measures, config["kind"].replace("-", "_"))(args, config)
    if args.json:
        print(json.dumps(results))
    else:
        width = max(map(len, results)) + 2
        for key, value in results.items():
            shown = f"{value:.4f}" if isinstance(value, float) else value
            print(f"{key.replace('_', ' '):{width}}{shown}")
    return 0


def _language_model(args: argparse.Namespace, config: dict[str, Any]) -> dict[str, Any]:
    """Nats and bits per token, and perplexity."""
    from minillm.cli.train.lm import read_training_text
    from minillm.data import read_text, split_text
    from minillm.metrics import bits, perplexity
    from minillm.training import RunFolder
    from minillm.training.language_model import evaluate, load_language_model

    if args.part == "test":
        raise InputError("--part: the text of a language model has no test part")
    model, vocabulary = load_language_model(RunFolder(args.run_folder))
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
    if vocabulary.unknown is not None:
        results["unknown_share"] = float((ids == vocabulary.unknown).mean())
    return results
