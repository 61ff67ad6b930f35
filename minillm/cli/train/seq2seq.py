"""``minillm train seq2seq``: an encoder-decoder, for translation and its like."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from minillm.cli.arguments import integer, number
from minillm.cli.runs import (
    COMMON_DEFAULTS,
    add_options,
    add_recurrence_options,
    add_vocabulary_options,
    run_training,
    settle,
)
from minillm.data.registry import absolute, default_units, help_of, names_of
from minillm.errors import InputError

if TYPE_CHECKING:
    from minillm.data.pairs import PairData

DEFAULTS: dict[str, Any] = COMMON_DEFAULTS | {
    "batch": 128,
    "learning_rate": 2e-3,
    "source_unit": None,
    "target_unit": None,
    "minimum_count": 2,
    "vocabulary": 20000,
    "max_length": 100,
    "attention": "additive",
    "input_feeding": None,
    "cell": "lstm",
    "layers": 1,
    "hidden": 256,
    "embedding": 256,
    "forward_only": None,
    "dropout": 0.2,
    "label_smoothing": 0.1,
    "scheduled_sampling": 0.0,
}


def add_parser(kinds: Any) -> None:
    """Declares the kind and its options."""
    parser = kinds.add_parser(
        "seq2seq",
        help="an encoder-decoder: translation, pronunciation, summaries",
        description=f"""\
Train an encoder-decoder, which reads one sequence and writes another, on pairs of texts:
a file of lines source<TAB>target, of which the last tenth is held out; or a built-in set:
{help_of("pairs")}
The switch is --attention: none squeezes the source through one vector, as in 2014; the
others let the decoder look back at the source while it writes, as since 2015.""",
        epilog="""\
examples:
  minillm train seq2seq numbers-en-fr --out runs/numbers --minutes 3
  minillm train seq2seq cmudict --out runs/cmudict --minutes 20
  minillm train seq2seq cmudict --out runs/vector --minutes 20 --attention none
  minillm train seq2seq pairs.tsv --out runs/pairs --cell gru --layers 2
  minillm train seq2seq train.tsv --validation val.tsv --unit token --out runs/multi30k
        words and marks that stand between spaces already

then: minillm translate DIR, minillm eval DIR, minillm plot attention DIR "a source text"
""",
    )

    def shown(name: str) -> str:
        return f"(default {DEFAULTS[name]})"

    parser.add_argument(
        "data", nargs="?", metavar="DATA", help=f"a file of pairs, or one of {names_of('pairs')}"
    )
    text = parser.add_argument_group("the texts")
    text.add_argument(
        "--validation", metavar="FILE", help="pairs to measure on (default: DATA's last tenth)"
    )
    units = ("character", "word", "token")
    text.add_argument(
        "--unit",
        choices=units,
        help="what both sides are cut into (default: word, or as suits a set)",
    )
    for side in ("source", "target"):
        text.add_argument(f"--{side}-unit", choices=units, help=f"what the {side} is cut into")
    add_vocabulary_options(text, DEFAULTS)
    text.add_argument(
        "--max-length",
        type=integer(1, 10_000),
        metavar="N",
        help=f"leave out pairs with a side of more tokens {shown('max_length')}",
    )
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--attention",
        choices=("none", "dot", "general", "additive"),
        help=f"how the decoder looks at the source {shown('attention')}",
    )
    model.add_argument(
        "--input-feeding",
        action="store_true",
        default=None,
        help="tell the decoder what it saw the step before (slower)",
    )
    add_recurrence_options(
        model,
        DEFAULTS,
        "of the encoder, and of the decoder",
        "width of the decoder, and of each direction of the encoder",
    )
    model.add_argument(
        "--forward-only",
        action="store_true",
        default=None,
        help="an encoder that reads in one direction, not in both",
    )
    model.add_argument(
        "--label-smoothing",
        type=number(least=0, below=1),
        metavar="E",
        help=f"share of certainty spread over all tokens in training {shown('label_smoothing')}",
    )
    model.add_argument(
        "--scheduled-sampling",
        type=number(least=0, most=1),
        metavar="P",
        help="share of the decoder's inputs that are its own words in training "
        f"{shown('scheduled_sampling')}",
    )
    add_options(parser, DEFAULTS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Trains."""
    import numpy as np

    from minillm.data import Minibatches
    from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
    from minillm.text import build_vocabulary
    from minillm.training.encoder_decoder import count_tokens, encode_pairs
    from minillm.training.minibatches import MinibatchTask, fingerprint

    for side in ("source_unit", "target_unit"):
        if getattr(args, side) is None:
            setattr(args, side, args.unit)
    settings, config = settle(args, "seq2seq", DEFAULTS)
    data = data_of_run(args, config)
    pairs = open_pairs(data)
    vocabularies = {}
    for k, side in enumerate(("source", "target")):
        unit = settings[f"{side}_unit"] or default_units(data["name"])[k]
        training, validation = (
            (pair[k] for pair in pairs.pairs(part)) for part in ("training", "validation")
        )
        vocabularies[side] = build_vocabulary(
            training,
            unit,
            settings["minimum_count"],
            settings["vocabulary"],
            held_out=validation,
        )
    source, target = vocabularies["source"], vocabularies["target"]
    columns = {}
    for part in ("training", "validation"):
        columns[part], left_out = encode_pairs(
            pairs.pairs(part), source, target, settings["max_length"]
        )
        count = len(columns[part][0])
        if left_out:
            print(f"{left_out:,} {part} pairs are longer than {settings['max_length']} tokens")
        if count == 0:
            raise InputError(f"{data['name']}: no {part} pair is short enough for --max-length")
        print(f"{count:,} {part} pairs")
    found = fingerprint(columns["training"])
    if data.setdefault("sha256", found) != found:
        raise InputError(f"{data['name']}: the data have changed since the run was started")
    data["longest_target"] = int(columns["training"][1].lengths.max())

    rng = np.random.default_rng(settings["seed"])
    try:
        sizes = EncoderDecoderConfig(
            source_vocabulary=len(source),
            target_vocabulary=len(target),
            embedding=settings["embedding"],
            hidden=settings["hidden"],
            layers=settings["layers"],
            cell=settings["cell"],
            bidirectional=not settings["forward_only"],
            attention=settings["attention"],
            input_feeding=bool(settings["input_feeding"]),
            dropout=settings["dropout"],
            label_smoothing=settings["label_smoothing"],
            scheduled_sampling=settings["scheduled_sampling"],
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    model = EncoderDecoder(sizes, rng)
    batch, seed = settings["batch"], settings["seed"]
    task = MinibatchTask(
        model,
        Minibatches(columns["training"], batch, seed),
        Minibatches(columns["validation"], batch, seed),
        count_tokens,
    )
    config = {"kind": "seq2seq", "model": asdict(sizes), "training": settings, "data": data}
    files = {f"vocabulary.{side}.json": v for side, v in vocabularies.items()}
    summary = run_training(args, config, files, model.params, task, rng, "token")
    if summary.interrupted:
        return 130
    show_examples(args.out, pairs)
    return 0


def data_of_run(args: argparse.Namespace, config: dict[str, Any] | None) -> dict[str, Any]:
    """What the run's data are: those of a resumed run, or those given."""
    data = dict(config["data"]) if config else {}
    if args.data is not None:
        data["name"] = absolute(args.data)
    if args.validation is not None:
        data["validation"] = absolute(args.validation)
    if "name" not in data:
        raise InputError("DATA: expected a file or a built-in set (see --help), found none")
    return data


def open_pairs(data: dict[str, Any]) -> "PairData":
    """The pairs of a file or of a built-in set, by its name."""
    from minillm.data import registry

    return registry.open_pairs(data["name"], data.get("validation"))


def show_examples(out: str, pairs: "PairData", count: int = 5) -> None:
    """What the best model makes of a few held-out sources."""
    from itertools import islice

    from minillm.cli.translate import load_translator

    translator = load_translator(out)
    held_out = dict(islice(pairs.pairs("validation"), count))
    sources = [s for s in held_out if len(translator.source.encode(s)) <= translator.longest]
    print("held-out examples:")
    for source, found in zip(sources, translator.translate(sources), strict=True):
        print(f"  {source}\n    -> {found[0].text}\n    == {held_out[source]}")
