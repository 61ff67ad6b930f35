"""Encoder-decoders and their texts: encoding pairs for training, loading a run."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from minillm.data import Sequences
from minillm.data.pairs import Pair
from minillm.errors import InputError
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.text import Vocabulary, vocabulary_from_dict
from minillm.training.checkpoints import RunFolder


def encode_pairs(
    pairs: Iterable[Pair], source: Vocabulary, target: Vocabulary, longest: int
) -> tuple[tuple[Sequences, Sequences], int]:
    """The pairs as ids, each target with the border after it, and how many were left out.

    Left out are those with a side of more than ``longest`` tokens.
    """
    sources, targets, left_out = Sequences(), Sequences(), 0
    for number, (source_text, target_text) in enumerate(pairs, start=1):
        ids = source.encode(source_text, f"source {number}")
        target_ids = target.encode(target_text, f"target {number}")
        if max(len(ids), len(target_ids)) > longest:
            left_out += 1
            continue
        sources.append(ids)
        targets.append([*target_ids, len(target)])
    return (sources, targets), left_out


def count_tokens(batch: tuple[NDArray, ...]) -> int:
    """The target tokens of a batch, borders included: what its loss is the mean of."""
    return int(batch[3].sum())


def load_encoder_decoder(folder: RunFolder) -> tuple[EncoderDecoder, Vocabulary, Vocabulary]:
    """The best model of a run, and its vocabularies: source, target."""
    stored = folder.load_json("config.json")
    try:
        config = EncoderDecoderConfig(**stored["model"])
        source, target = (
            vocabulary_from_dict(folder.load_json(f"vocabulary.{side}.json"))
            for side in ("source", "target")
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder.path}: its configuration is damaged: {error}") from None
    if (len(source), len(target)) != (config.source_vocabulary, config.target_vocabulary):
        raise InputError(
            f"{folder.path}: the model knows {config.source_vocabulary} and "
            f"{config.target_vocabulary} tokens, but the vocabularies have "
            f"{len(source)} and {len(target)}"
        )
    model = EncoderDecoder(config, np.random.default_rng(0))
    folder.load_model(model.params)
    return model, source, target
