"""What ``minillm eval`` measures of a run that is no language model, one kind a function."""

import argparse
import time
from typing import TYPE_CHECKING, Any

from minillm.errors import InputError

if TYPE_CHECKING:
    from minillm.data.pairs import Pair

Results = dict[str, Any]


def seq2seq(args: argparse.Namespace, config: dict[str, Any]) -> Results:
    """Loss, exact outputs, and the errors or overlaps that the task is known by."""
    from minillm import metrics
    from minillm.cli.train.seq2seq import open_pairs
    from minillm.cli.translate import load_translator
    from minillm.data import Minibatches
    from minillm.text.words import split_words
    from minillm.training.encoder_decoder import count_tokens, encode_pairs
    from minillm.training.minibatches import mean_loss

    translator = load_translator(args.run_folder)
    name, pairs = _pairs(args, config, open_pairs(config["data"]) if not args.files else None)
    references: dict[str, list[str]] = {}
    for source, target in pairs:
        references.setdefault(source, []).append(target)
    sources = list(references)
    longest = translator.longest
    columns, left_out = encode_pairs(pairs, translator.source, translator.target, longest)
    if left_out:
        raise InputError(
            f"{name}: expected at most {longest} tokens on a side, as the model was trained, "
            f"found {left_out} pairs with more"
        )
    nats = mean_loss(translator.model, Minibatches(columns, 256, 0), count_tokens)  # type: ignore[arg-type]

    start = time.perf_counter()
    found = translator.translate(sources, args.beam, args.length_exponent)
    seconds = time.perf_counter() - start
    outputs = [best[0].text if best else "" for best in found]
    known = [references[source] for source in sources]

    results: Results = {
        "data": name,
        "sources": len(sources),
        "beam": args.beam,
        "sources_per_second": len(sources) / seconds,
        "nats_per_token": nats,
        "perplexity": metrics.perplexity(nats),
    }
    exact = metrics.exact_match(outputs, known)
    pretokenised = getattr(translator.target, "pretokenised", False)

    def tokens(text: str) -> list[str]:
        if translator.target.unit == "character":
            return list(text)
        return split_words(text, pretokenised)

    errors = metrics.token_error_rate(
        [tokens(text) for text in outputs], [[tokens(text) for text in texts] for texts in known]
    )
    if config["data"]["name"].startswith("cmudict"):
        results |= {"word_error_rate": 1 - exact, "phoneme_error_rate": errors}
    else:
        results |= {"exact_match": exact, "token_error_rate": errors}
        results["bleu"] = metrics.bleu(outputs, known, tokenised=pretokenised)
        results["chrf"] = metrics.chrf(outputs, known)
        results |= metrics.rouge(outputs, known)
    return results


def _pairs(args: argparse.Namespace, config: dict[str, Any], own: Any) -> tuple[str, "list[Pair]"]:
    """What to measure on: the files that were given, or the part that was held out."""
    from minillm.data.pairs import read_pairs

    if args.files:
        return ", ".join(args.files), [pair for file in args.files for pair in read_pairs(file)]
    part = args.part or "validation"
    return f"{config['data']['name']}, {part}", list(own.pairs(part))
