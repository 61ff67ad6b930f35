"""``tokenizer``: byte pairs, learned from a text for other models to read it with."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from minillm.errors import InputError
from minillm.runs.kind import Evaluation, Job, Kind, Results, Shapes
from minillm.runs.settings import FilesSettings, VocabularySettings, values_of, with_default
from minillm.runs.text import LEAST_BYTE_PAIRS, size_of

if TYPE_CHECKING:
    from minillm.runs.run import Run
    from minillm.text import Vocabulary

REPORT_SECONDS = 5.0


@dataclass(frozen=True)
class Settings:
    """The settings of a tokenizer."""

    files: tuple[str, ...] = with_default(FilesSettings, "files", ())
    vocabulary: int = with_default(
        VocabularySettings,
        "vocabulary",
        8000,
        help="learn N tokens, of which 256 are the bytes and one is <|endoftext|>",
        least=LEAST_BYTE_PAIRS,
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
    """Byte-pair encoding."""

    name = "tokenizer"
    year = 2016
    help = "byte pairs: tokens between characters and words"
    description = """\
Learn byte pairs from a text: beginning with the 256 bytes, the most frequent pair of neighbours
becomes a token, again and again.  Files of any size are read as streams; the last tenth is held
out, to measure how many bytes a token has on text that was not seen.  The folder also has the
files that other programs read: tokenizer.json, and vocab.json with merges.txt."""
    examples = """\
  minillm train tokenizer --out runs/pairs
        on the Python language reference, which ships with every CPython
  minillm train tokenizer *.txt --vocabulary 16000 --out runs/pairs

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
        from minillm.text.bpe import train

        began = time.perf_counter()
        text = TextStream(job.data["files"])
        cut = text.characters * 9 // 10
        blocks = reported(text.blocks(stop=cut), cut)
        tokenizer = train(blocks, job.settings.vocabulary)
        measures = measured(tokenizer, text.blocks(start=cut), "the held-out last tenth")
        model = NoModel(TokenizerConfig(len(tokenizer)))
        data = job.data | {"sha256": text.sha256}
        settings = values_of(job.settings, data=False)
        self.save(job.folder, model, tokenizer, settings, data, tokenizer_files(tokenizer))
        seconds = time.perf_counter() - began
        job.report(f"{len(tokenizer):,} tokens from {cut:,} characters in {seconds:.1f} s")
        if len(tokenizer) < job.settings.vocabulary:
            job.report("fewer than asked for: no other pair stands twice in the text")
        job.report(f"held-out bytes per token: {measures['bytes_per_token']:.3f}")
        job.report(f"saved in {job.folder.path}")
        return True

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Bytes and characters per token."""
        from minillm.runs.kinds.ngram import evaluation_stream

        name, text, start = evaluation_stream(run, asked, held_out=True)
        return {"text": name, **measured(run.tokenizer, text.blocks(start), name)}


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
    tokens, bytes, characters = 0, 0, 0
    for block in blocks:
        sizes = size_of(block)
        bytes, characters = bytes + sizes[0], characters + sizes[1]
        tokens += len(tokenizer.encode(block, name))
    if tokens == 0:
        raise InputError(f"{name}: expected text, found none")
    return {
        "vocabulary": len(tokenizer),
        "tokens": tokens,
        "bytes_per_token": bytes / tokens,
        "characters_per_token": characters / tokens,
    }
