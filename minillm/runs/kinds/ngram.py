"""``ngram``: an n-gram model, which is counted rather than trained."""

import math
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from minillm.errors import InputError
from minillm.runs.kind import Evaluation, Job, Kind, Results, Shapes
from minillm.runs.settings import FilesSettings, Size, TokenizerSettings, option, values_of
from minillm.runs.text import (
    check_fingerprint,
    check_kept,
    language_results,
    name_of,
    per_byte_and_character,
    size_of,
    vocabulary_for,
    write_text,
)

if TYPE_CHECKING:
    from minillm.data.streams import TextStream
    from minillm.models.ngram import NGram
    from minillm.runs.folder import RunFolder
    from minillm.runs.run import Run
    from minillm.text import Vocabulary


@dataclass(frozen=True)
class Settings(FilesSettings, TokenizerSettings):
    """The settings of an n-gram model."""

    order: int = option(5, "length of the longest n-grams", "N", least=1, most=20)
    smoothing: str = option(
        "kneser-ney",
        "how the probability of unseen n-grams is estimated; kneser-ney is modified Kneser-Ney",
        choices=("kneser-ney", "absolute", "witten-bell", "add-k", "mle"),
    )
    k: float = option(0.1, "what add-k adds to each count", "K", above=0)
    prune: tuple[int, ...] = option(
        (0,),
        "leave out n-grams seen at most C times: one number for the 2-grams, one for the 3-grams "
        "and so on; the last is for all longer ones, too",
        "C",
        least=0,
        most=10**12,
        default_help="0: none",
    )
    unit: str = option(
        "word", "what n-grams consist of", choices=("character", "word", "bpe"), group="the text"
    )
    minimum_count: int = option(
        2,
        "words seen less often become the unknown word",
        "N",
        least=1,
        most=10**12,
        group="the text",
    )
    vocabulary: int | None = option(
        None,
        "keep at most the N most frequent words; of byte pairs, learn N tokens",
        "N",
        least=2,
        most=100_000_000,
        group="the text",
        default_help="all; of byte pairs, 8000",
    )
    memory: Size = option(  # noqa: RUF009
        Size(2 << 30),
        "memory to use: of a text that needs more, the n-grams are sorted and smoothed in pieces, "
        "which are kept on the disk, in the folder for temporary files (TMPDIR)",
        "SIZE",
        least=1,
        most=1 << 60,
        group="the text",
        default_help="2G",
    )


class NGramKind(Kind):
    """Counts of n-grams, smoothed into probabilities."""

    name = "ngram"
    year = 1980
    help = "an n-gram model: counted, not trained"
    description = """\
Count the n-grams of a text and smooth the counts into probabilities: the language model of
the years before recurrent networks.  The last tenth of the text is held out, to measure the
model on text that it has not seen.  In a model of words, each line is a sentence."""
    examples = """\
  minillm train ngram --out runs/words
        5-grams of words, on the Python language reference that ships with every CPython
  minillm train ngram shakespeare.txt --unit character --order 7 --out runs/characters
  minillm train ngram shakespeare.txt --order 3 --smoothing witten-bell --out runs/wb
  minillm train ngram large.txt --prune 0 0 1 --memory 4G --out runs/large
        from the 3-grams on, those seen once are left out

then: minillm generate DIR, minillm eval DIR, minillm export DIR model.arpa"""
    settings = Settings
    exports: ClassVar[dict[str, str]] = {"arpa": "model.arpa"}
    resumable = False

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.ngram import NGram, NGramConfig

        return NGram, NGramConfig

    def train(self, job: Job) -> bool:
        """Counts, smooths, saves, and measures on the held-out text."""
        from minillm.data.streams import Spill, TextStream
        from minillm.mpi import ranks
        from minillm.training.ngram import Progress, train_ngram

        settings = job.settings
        if list(settings.prune) != sorted(settings.prune):
            raise InputError(
                f"--prune: expected counts that do not fall, found {list(settings.prune)}"
            )
        began, rank = time.perf_counter(), ranks().rank
        report = partial(print, file=sys.stderr) if rank == 0 else lambda line: None
        text = TextStream(job.data["files"], progress=Progress(report))
        cut = text.characters * 9 // 10
        # The words of the text are its vocabulary, unless another is given.
        vocabulary = vocabulary_for(settings, job.data, settings.unit, lambda: None)
        with Spill() as spill:
            model, tokenizer, tokens = train_ngram(
                text, text.characters - cut, settings, spill, report, vocabulary
            )
            if model is None:
                return True  # rank 0 has it
            seconds = time.perf_counter() - began
            report(f"{tokens:,} tokens in {seconds:.1f} s, {tokens / seconds:,.0f} tokens/s")
            report(f"saving, then measuring on {text.characters - cut:,} characters")
            data = job.data | {"sha256": text.sha256}
            self.save(job.folder, model, tokenizer, values_of(settings, data=False), data)
            sizes = enumerate(model.config.sizes, start=1)
            job.report(", ".join(f"{size:,} {n}-grams" for n, size in sizes))
            held_out = text.blocks(start=cut)
            results = text_results(model, tokenizer, held_out, "the held-out last tenth")
        for key in ("bits_per_token", "perplexity"):
            job.report(f"held-out {key.replace('_', ' ')}: {results[key]:.4f}")
        job.report(f"saved in {job.folder.path}")
        return True

    def build(self, config: Any, vocabularies: dict[str, Any], shapes: Shapes) -> Any:
        """The arrays that the sizes say."""
        stored = tuple(shapes.get(f"word.{n}") for n in range(1, config.order + 1))
        if tuple((size,) for size in config.sizes) != stored:
            raise ValueError("its sizes do not agree with the tensors stored")
        Model, _ = self.types()
        return Model(config)

    def load_weights(self, folder: "RunFolder", model: Any, allow_nan: bool) -> None:
        """Maps them: they may be larger than memory."""
        model.params = folder.map_model(model.params, allow_nan)

    def check(self, model: Any) -> None:
        """That every look-up stays within the arrays."""
        model.check()

    def write(self, run: "Run", *options: Any) -> Iterator[str]:
        """See :meth:`minillm.runs.run.Run.write`."""
        return write_text(run.model, run.tokenizer, *options)

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Nats and bits per token, and perplexity with and without the unknown words."""
        name, text, start = evaluation_stream(run, asked, held_out=True)
        return text_results(run.model, run.tokenizer, text.blocks(start), name)

    def export(self, run: "Run", file: str | Path, binary: bool = False) -> None:
        """An ARPA file, which SRILM and KenLM read."""
        from minillm.formats.arpa import write_arpa

        if binary:
            raise InputError("--binary: an ARPA file is text")
        write_arpa(file, run.tokenizer, run.model.params)

    def imports(self, file: str, head: bytes) -> bool:
        """Whether a file is one to import as this kind: an ARPA file, gzip too."""
        return head.startswith((b"\\data\\", b"\x1f\x8b")) or ".arpa" in Path(file).name

    def import_file(self, file: str, folder: "RunFolder") -> str:
        """Makes a run of an ARPA file; returns a line that describes it."""
        from minillm.data.registry import absolute
        from minillm.formats.arpa import read_arpa

        Model, _ = self.types()
        tokenizer, params = read_arpa(file)
        order = sum(name.startswith("word.") for name in params)
        sizes = tuple(len(params[f"word.{n}"]) for n in range(1, order + 1))
        config = self.new_config(
            vocabulary=len(tokenizer),
            order=order,
            line_end=tokenizer.sentence_end,
            unknown=tokenizer.unknown,
            sizes=sizes,
        )
        data = {"files": [], "imported": absolute(file)}
        self.save(folder, Model(config, params), tokenizer, {}, data)
        return ", ".join(f"{size:,} {n}-grams" for n, size in enumerate(sizes, start=1))


def evaluation_stream(
    run: "Run", asked: Evaluation, held_out: bool
) -> tuple[str, "TextStream", int]:
    """What to measure on: its name, the text, and the character where that begins."""
    from minillm.data.streams import TextStream

    if asked.part == "test":
        raise InputError("--part: a text has no test part")
    if asked.files:
        return ", ".join(asked.files), TextStream(asked.files), 0
    check_kept(run)
    text = TextStream(run.data["files"])
    check_fingerprint(run.data, text.sha256)
    if not held_out:
        return name_of(run.data), text, 0
    return f"the held-out last tenth of {name_of(run.data)}", text, text.characters * 9 // 10


def text_results(
    model: "NGram", tokenizer: "Vocabulary", blocks: Iterable[str], name: str
) -> Results:
    """The measures of an n-gram model on a text, with and without its unknown words."""
    from minillm import metrics
    from minillm.training.ngram import score_text

    bytes, characters = 0, 0

    def counted() -> Iterator[str]:
        nonlocal bytes, characters
        for block in blocks:
            sizes = size_of(block)
            bytes, characters = bytes + sizes[0], characters + sizes[1]
            yield block

    score = score_text(model, tokenizer, counted(), name)
    tokens = score.tokens + score.unknown
    nats = -(score.log10 + score.unknown_log10) * math.log(10) / tokens
    results = language_results(name, tokenizer, nats, tokens)
    if tokenizer.unknown is not None:
        known_nats = -score.log10 * math.log(10) / max(1, score.tokens)
        results["unknown_share"] = score.unknown / tokens
        results["perplexity_of_known"] = metrics.perplexity(known_nats)
        return results
    return results | per_byte_and_character(nats * tokens, bytes, characters)
