"""``tokenizer``: byte pairs or wordpieces, learned from a text for other models to read it with."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from minillm.errors import InputError
from minillm.runs.kind import Evaluation, Job, Kind, Results, Shapes
from minillm.runs.settings import (
    FilesSettings,
    VocabularySettings,
    option,
    values_of,
    with_default,
)
from minillm.runs.text import LEAST_WORD_PIECES, check_size, size_of

if TYPE_CHECKING:
    from minillm.runs.run import Run
    from minillm.text import BytePairs, Vocabulary, WordPieces

REPORT_SECONDS = 5.0


@dataclass(frozen=True)
class Settings:
    """The settings of a tokenizer."""

    files: tuple[str, ...] = with_default(FilesSettings, "files", ())
    vocabulary: int = with_default(
        VocabularySettings,
        "vocabulary",
        8000,
        help="learn N tokens; of byte pairs 256 are the bytes, and one is <|endoftext|>",
        least=LEAST_WORD_PIECES,
    )
    unit: str = option(
        "bpe",
        "parts of words as GPT has them (byte pairs), or as BERT has them",
        choices=("bpe", "wordpiece"),
        group="the text",
    )
    cased: bool = option(
        False,
        "keep upper case and accents; wordpieces only: byte pairs always do",
        group="the text",
    )


@dataclass(frozen=True)
class TokenizerConfig:
    """How many tokens there are."""

    vocabulary: int


class NoModel:
    """The model of a run that is a vocabulary alone: it has no weights."""

    params: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: TokenizerConfig):
        self.config = config


class TokenizerKind(Kind):
    """Byte-pair encoding, and WordPiece."""

    name = "tokenizer"
    year = 2016
    help = "byte pairs and wordpieces: tokens between characters and words"
    description = """\
Learn byte pairs from a text: beginning with the 256 bytes, the most frequent pair of neighbours
becomes a token, again and again.  Or wordpieces, as BERT reads them: beginning with the characters,
the pair that makes the text likeliest becomes one.  Files of any size are read as streams; the last
tenth is held out, to measure how many bytes a token has on text that was not seen.  The folder also
has the files that other programs read: tokenizer.json, and vocab.json with merges.txt, or vocab.txt
with tokenizer_config.json."""
    examples = """\
  minillm train tokenizer --out runs/pairs
        on the Python language reference, which ships with every CPython
  minillm train tokenizer *.txt --vocabulary 16000 --out runs/pairs
  minillm train tokenizer *.txt --unit wordpiece --out runs/pieces

then: minillm train lm FILE --tokenizer runs/pairs --out DIR, minillm eval runs/pairs FILE"""
    settings = Settings
    resumable = False

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        return NoModel, TokenizerConfig

    def build(self, config: Any, vocabularies: dict[str, Any], shapes: Shapes) -> NoModel:
        """No weights."""
        return NoModel(config)

    def train(self, job: Job) -> bool:
        """Learns, measures on the held-out text, and saves; before that, nothing is written."""
        from minillm.data.streams import TextStream
        from minillm.text import tokenizer_files

        check_asked(job.settings)
        began = time.perf_counter()
        text = TextStream(job.data["files"])
        cut = text.characters * 9 // 10
        blocks = reported(text.blocks(stop=cut), cut)
        tokenizer = learned(blocks, job.settings)
        measures = measured(tokenizer, text.blocks(start=cut), "the held-out last tenth")
        model = NoModel(TokenizerConfig(len(tokenizer)))
        data = job.data | {"sha256": text.sha256}
        settings = values_of(job.settings, data=False)
        self.save(job.folder, model, tokenizer, settings, data, tokenizer_files(tokenizer))
        seconds = time.perf_counter() - began
        job.report(f"{len(tokenizer):,} tokens from {cut:,} characters in {seconds:.1f} s")
        if len(tokenizer) < job.settings.vocabulary:
            job.report(f"fewer than asked for: no other pair {WORTH[job.settings.unit]}")
        job.report(f"held-out bytes per token: {measures['bytes_per_token']:.3f}")
        job.report(f"saved in {job.folder.path}")
        return True

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Bytes and characters per token."""
        from minillm.runs.kinds.ngram import evaluation_stream

        name, text, start = evaluation_stream(run, asked, held_out=True)
        return {"text": name, **measured(run.tokenizer, text.blocks(start), name)}


WORTH = {
    "bpe": "stands twice in the text",
    "wordpiece": "stands twice in the text and makes it likelier",
}


def check_asked(settings: Settings) -> None:
    """InputError for settings that do not fit together."""
    check_size(settings.unit, settings.vocabulary)
    if settings.cased and settings.unit != "wordpiece":
        raise InputError("--cased: expected --unit wordpiece with it: byte pairs keep upper case")


def learned(blocks: Iterable[str], settings: Settings) -> "BytePairs | WordPieces":
    """The tokenizer that a text teaches."""
    from minillm.text import bpe, wordpiece

    if settings.unit == "bpe":
        return bpe.train(blocks, settings.vocabulary)
    return wordpiece.train(blocks, settings.vocabulary, lower_case=not settings.cased)


def reported(blocks: Iterable[str], total: int) -> Iterator[str]:
    """The blocks; a line every few seconds says how far the reading is."""
    read, last = 0, time.monotonic()
    for block in blocks:
        yield block
        read += len(block)
        if time.monotonic() - last > REPORT_SECONDS:
            last = time.monotonic()
            print(f"{read:,} of {total:,} characters read", file=sys.stderr)
    print(f"{read:,} characters read; merging", file=sys.stderr)


def measured(tokenizer: "Vocabulary", blocks: Iterable[str], name: str) -> Results:
    """How long tokens are in a text."""
    tokens, unknown, bytes, characters = 0, 0, 0, 0
    for block in blocks:
        sizes = size_of(block)
        bytes, characters = bytes + sizes[0], characters + sizes[1]
        ids = tokenizer.encode(block, name)
        tokens += len(ids)
        if tokenizer.unknown is not None:
            unknown += int((ids == tokenizer.unknown).sum())
    if tokens == 0:
        raise InputError(f"{name}: expected text, found none")
    results = {
        "vocabulary": len(tokenizer),
        "tokens": tokens,
        "bytes_per_token": bytes / tokens,
        "characters_per_token": characters / tokens,
    }
    return results if tokenizer.unknown is None else {**results, "unknown_share": unknown / tokens}
