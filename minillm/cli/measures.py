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
    from minillm.data.registry import task_of
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
    if left_out and args.files:
        raise InputError(
            f"{name}: expected at most {longest} tokens on a side, as the model was trained, "
            f"found {left_out} pairs with more"
        )
    if left_out:  # as it was of the data to train on
        sources = [text for text in sources if len(translator.source.encode(text)) <= longest]
    nats = mean_loss(translator.model, Minibatches(columns, 256, 0), count_tokens)  # type: ignore[arg-type]

    start = time.perf_counter()
    found = translator.translate(sources, args.beam, args.length_exponent)
    seconds = time.perf_counter() - start
    outputs = [best[0].text if best else "" for best in found]
    known = [references[source] for source in sources]

    results: Results = {
        "data": name,
        "sources": len(sources),
        "pairs_left_out": left_out,
        "beam": args.beam,
        "sources_per_second": len(sources) / seconds,
        "nats_per_token": nats,
        "perplexity": metrics.perplexity(nats),
    }
    exact = metrics.exact_match(outputs, known)
    split, pretokenised = translator.target.split, translator.target.pretokenised
    errors = metrics.token_error_rate(
        [split(text) for text in outputs], [[split(text) for text in texts] for texts in known]
    )
    if task_of(config["data"]["name"]) == "pronunciation":
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
    if vocabulary.unknown is not None:
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
    from minillm.data.registry import open_text

    if args.part == "test":
        raise InputError("--part: a text has no test part")
    data = config["data"]
    if args.files:
        return ", ".join(args.files), open_text(args.files), 0
    if "imported" in data or "-" in data["files"]:
        source = data.get("imported", "standard input, which is not kept")
        raise InputError(
            f"{args.run_folder}: it comes from {source}: give the text to measure it on as FILE"
        )
    names = ", ".join(data["files"]) or "the built-in corpus"
    text = open_text(data["files"])
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


def classifier(args: argparse.Namespace, config: dict[str, Any]) -> Results:
    """Accuracy, macro-F1 and the confusion matrix."""
    from minillm.data.labelled import read_labelled
    from minillm.data.registry import open_labelled
    from minillm.training import RunFolder
    from minillm.training.classifier import class_probabilities, encode_texts, load_classifier

    data, labels = config["data"], config["data"]["labels"]
    model, vocabulary = load_classifier(RunFolder(args.run_folder))
    if args.files:
        name = ", ".join(args.files)
        texts = [text for file in args.files for text in read_labelled(file)]
    else:
        _no_test_part(args)
        name = f"{data['data']}, validation"
        texts = list(open_labelled(data["data"], data.get("validation")).texts("validation"))
    longest = config["training"]["max_length"]
    ids, classes = encode_texts(texts, vocabulary, labels, longest)
    return _classes(name, class_probabilities(model, ids), classes, labels, args.json)


def image_classifier(args: argparse.Namespace, config: dict[str, Any]) -> Results:
    """Accuracy, macro-F1 and the confusion matrix."""
    from minillm import ops
    from minillm.training import RunFolder
    from minillm.training.images import load_image_classifier

    name, _, (images, classes) = _digits(args, config)
    model = load_image_classifier(RunFolder(args.run_folder))
    probabilities, _ = ops.softmax(model.forward(images)[0])
    return _classes(name, probabilities, classes, config["data"]["labels"], args.json)


def captioner(args: argparse.Namespace, config: dict[str, Any]) -> Results:
    """Exact captions, and character errors."""
    import numpy as np

    from minillm import metrics
    from minillm.decoding import beam_search
    from minillm.training import RunFolder
    from minillm.training.images import load_captioner

    name, digits, (images, classes) = _digits(args, config)
    model, vocabulary = load_captioner(RunFolder(args.run_folder))
    longest = config["data"]["longest"]
    lengths = np.ones(len(images), np.int64)
    found = beam_search(model, images, lengths, args.beam, longest, args.length_exponent)
    outputs = [vocabulary.decode(hypotheses[0].ids) for hypotheses in found]
    known = [[digits.captions[digit]] for digit in classes]
    return {
        "data": name,
        "images": len(images),
        "beam": args.beam,
        "exact_match": metrics.exact_match(outputs, known),
        "character_error_rate": metrics.token_error_rate(outputs, known),
    }


def _digits(args: argparse.Namespace, config: dict[str, Any]) -> tuple[str, Any, Any]:
    from minillm.data.registry import open_images

    if args.files:
        raise InputError("FILE: images are measured on the built-in set only (--part)")
    part = args.part or "validation"
    digits = open_images(config["data"]["name"])
    return f"{config['data']['name']}, {part}", digits, digits.part(part)


def _classes(name: str, probabilities: Any, classes: Any, labels: list[str], json: bool) -> Results:
    import numpy as np

    from minillm import metrics

    matrix = metrics.confusion_matrix(probabilities.argmax(axis=1), classes, len(labels))
    of_actual = probabilities[np.arange(len(classes)), classes]
    results: Results = {
        "data": name,
        "items": len(classes),
        "nats_per_item": float(-np.log(np.maximum(of_actual, 1e-300)).mean()),
        "accuracy": metrics.accuracy(matrix),
        "macro_f1": metrics.macro_f1(matrix),
    }
    if json:
        return results | {"labels": labels, "confusion": matrix.tolist()}
    width = max(len(str(matrix.max())), *map(len, labels)) + 1
    rows = ["".join(f"{label:>{width}}" for label in ["", *labels])]
    for label, row in zip(labels, matrix, strict=True):
        rows.append("".join(f"{entry:>{width}}" for entry in [label, *row]))
    return results | {"confusion": "row is taken for column\n" + "\n".join(rows)}


def _no_test_part(args: argparse.Namespace) -> None:
    if args.part == "test":
        raise InputError("--part: the data have no test part: give the FILE to measure on")
