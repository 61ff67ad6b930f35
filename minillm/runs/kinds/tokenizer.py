"""Byte pairs and wordpieces: tokens between characters and words (2016)."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from minillm.data.corpora import TextStream
from minillm.errors import InputError
from minillm.option import with_default
from minillm.runs.config import save_run
from minillm.runs.kind import EvalData, Kind, Results, Training, Weights
from minillm.runs.kinds.texts import LEAST_WORD_PIECES, check_size, evaluation_blocks, size_of
from minillm.runs.run import Run
from minillm.runs.settings import (
    EvalOptions,
    FilesSettings,
    VocabularySettings,
    of_text,
)
from minillm.text import Vocabulary, byte_pairs, tokenizer_files, word_pieces


@dataclass(frozen=True)
class LearntTokenizerSettings:
    """The settings of a tokenizer."""

    files: tuple[str, ...] = with_default(FilesSettings, "files", ())
    vocabulary: int = with_default(
        VocabularySettings,
        "vocabulary",
        8000,
        help="learn N tokens; of byte pairs 256 are the bytes, and one is <|endoftext|>",
        least=LEAST_WORD_PIECES,
    )
    unit: str = of_text(
        "bpe",
        "byte pairs, as in GPT, or wordpieces, as in BERT",
        choices=("bpe", "wordpiece"),
    )
    cased: bool = of_text(
        False, "keep upper case and accents; wordpieces only: byte pairs always do"
    )


@dataclass(frozen=True)
class TokenizerConfig:
    """The number of tokens."""

    vocabulary: int


class NoModel:
    """The model of a run that is only a vocabulary: it has no weights."""

    def __init__(self, config: TokenizerConfig, params: Weights | None = None):
        self.config, self.params = config, dict(params or {})


class TokenizerRun(Run):
    """A run of a tokenizer."""

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """Bytes and characters per token."""
        name, blocks = evaluation_blocks(self, data, held_out=True)
        return {"text": name, **measured(self.vocabularies["tokenizer"], blocks, name)}


def train(training: Training) -> bool:
    """Learn, measure on the held-out text, and save; nothing is written earlier."""
    settings = training.settings
    check_size(settings.unit, settings.vocabulary)
    if settings.cased and settings.unit != "wordpiece":
        raise InputError("expected the unit wordpiece with it: byte pairs keep upper case", "cased")
    start = time.perf_counter()
    text = TextStream(training.data["files"])
    cut = text.characters * 9 // 10
    blocks, size = text.blocks(stop=cut), settings.vocabulary
    tokenizer: Vocabulary
    if settings.unit == "bpe":
        tokenizer = byte_pairs.train(blocks, size)
    else:
        tokenizer = word_pieces.train(blocks, size, lower_case=not settings.cased)
    results = measured(tokenizer, text.blocks(start=cut), "the held-out last tenth")
    training.record(text.sha256, "the text")
    training.model = NoModel(TokenizerConfig(len(tokenizer)))
    files = tokenizer_files(tokenizer)
    save_run(training.folder, training.config(), {}, {"tokenizer": tokenizer}, files)
    seconds = time.perf_counter() - start
    training.report(f"{len(tokenizer):,} tokens from {cut:,} characters in {seconds:.1f} s")
    if len(tokenizer) < settings.vocabulary:
        training.report("fewer than asked for: no other pair of the text is worth a token")
    training.report(f"held-out bytes per token: {results['bytes_per_token']:.3f}")
    training.report(f"saved in {training.folder.path}")
    return True


def measured(tokenizer: Vocabulary, blocks: Iterable[str], name: str) -> Results:
    """The bytes and characters per token of a text."""
    sizes = np.zeros(2, np.int64)
    tokens = unknown = 0
    for block in blocks:
        sizes += size_of([block])
        ids = tokenizer.encode_each([block], [name])[0]  # without BOS
        tokens += len(ids)
        if tokenizer.unknown is not None:
            unknown += int((ids == tokenizer.unknown).sum())
    if tokens == 0:
        raise InputError("expected text, found none", name)
    results = {
        "vocabulary": len(tokenizer),
        "tokens": tokens,
        "bytes_per_token": sizes[0] / tokens,
        "characters_per_token": sizes[1] / tokens,
    }
    return results if tokenizer.unknown is None else {**results, "unknown_share": unknown / tokens}


TOKENIZER = Kind(
    name="tokenizer",
    description="""\
Learn byte pairs from a text: beginning with the 256 bytes, the most frequent pair of neighbours
repeatedly becomes a token.  Or learn BERT's wordpieces: beginning with the characters, the pair
that makes the text most likely becomes a token.  The last tenth is held out.  The folder also has a
tokenizer.json, for other programs.""",
    examples="""\
  minillm train tokenizer --out runs/pairs
        on the Python language reference, which ships with every CPython
  minillm train tokenizer *.txt --unit wordpiece --vocabulary 16000 --out runs/pieces

then: minillm train lm FILE --tokenizer runs/pairs --out DIR, minillm eval runs/pairs FILE""",
    run=TokenizerRun,
    model=NoModel,
    config=TokenizerConfig,
    settings=LearntTokenizerSettings,
    train=train,
    takes=("text",),
    resumable=False,
)
