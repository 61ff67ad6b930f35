"""What ``minillm eval`` measures of a run that is no language model, one kind a function."""

import argparse
import time
from typing import TYPE_CHECKING, Any

from minillm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minillm.data.pairs import Pair
    from minillm.data.streams import TextStream
    from minillm.models.ngram import NGram
    from minillm.text import Vocabulary

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


def ngram(args: argparse.Namespace, config: dict[str, Any]) -> Results:
    """Nats and bits per token, and perplexity with and without the unknown words."""
    from minillm.training import RunFolder
    from minillm.training.ngram import load_ngram

    model, vocabulary = load_ngram(RunFolder(args.run_folder))
    name, text, start = _text(args, config, held_out=True)
    return ngram_results(model, vocabulary, text.blocks(start), name)


def ngram_results(
    model: "NGram", vocabulary: "Vocabulary", blocks: "Iterable[str]", name: str
) -> Results:
    """What an n-gram model makes of a text."""
    import math

    from minillm import metrics
    from minillm.training.ngram import score_text

    score = score_text(model, vocabulary, blocks, name)
    tokens = score.tokens + score.unknown
    nats = -(score.log10 + score.unknown_log10) * math.log(10) / tokens
    results: Results = {
        "text": name,
        "unit": vocabulary.unit,
        "tokens": tokens,
        "nats_per_token": nats,
        "bits_per_token": metrics.bits(nats),
        "perplexity": metrics.perplexity(nats),
    }
    if vocabulary.unit == "word":
        known_nats = -score.log10 * math.log(10) / max(1, score.tokens)
        results["unknown_share"] = score.unknown / tokens
        results["perplexity_of_known"] = metrics.perplexity(known_nats)
    return results


def word2vec(args: argparse.Namespace, config: dict[str, Any]) -> Results:
    """The loss of a prediction on a text, by default the one that it was trained on."""
    from minillm.training import RunFolder
    from minillm.training.word2vec import load_word2vec, mean_loss

    run = load_word2vec(RunFolder(args.run_folder))
    name, text, _ = _text(args, config, held_out=False)
    loss, predictions, words = mean_loss(run, text)
    return {
        "text": name,
        "known_words": words,
        "predictions": predictions,
        "nats_per_prediction": loss,
    }


def _text(
    args: argparse.Namespace, config: dict[str, Any], held_out: bool
) -> tuple[str, "TextStream", int]:
    """What to measure on: its name, the text, and the character where that begins."""
    from minillm.data.streams import TextStream

    if args.part == "test":
        raise InputError("--part: a text has no test part")
    data = config["data"]
    if args.files:
        return ", ".join(args.files), TextStream(args.files), 0
    if "imported" in data or "-" in data["files"]:
        source = data.get("imported", "standard input, which is not kept")
        raise InputError(
            f"{args.run_folder}: it comes from {source}: give the text to measure it on as FILE"
        )
    names = ", ".join(data["files"]) or "the built-in corpus"
    text = TextStream(data["files"])
    if text.sha256 != data["sha256"]:
        raise InputError(f"{names}: the text has changed since the run was made")
    if not held_out:
        return names, text, 0
    return f"the held-out last tenth of {names}", text, text.characters * 9 // 10


def _pairs(args: argparse.Namespace, config: dict[str, Any], own: Any) -> tuple[str, "list[Pair]"]:
    """What to measure on: the files that were given, or the part that was held out."""
    from minillm.data.pairs import read_pairs

    if args.files:
        return ", ".join(args.files), [pair for file in args.files for pair in read_pairs(file)]
    part = args.part or "validation"
    return f"{config['data']['name']}, {part}", list(own.pairs(part))
