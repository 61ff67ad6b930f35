"""An n-gram model: counted, not trained (1980)."""

import math
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from minillm.data.corpora import TextStream
from minillm.errors import InputError
from minillm.look.measurements import read_counted
from minillm.look.trace import Trace
from minillm.metrics import perplexity
from minillm.models.ngram import SMOOTHINGS, NGram, NGramConfig
from minillm.runs.config import save_run
from minillm.runs.kind import EvalData, Kind, Results, Training, Vocabularies, Weights
from minillm.runs.kinds.language import WritingRun
from minillm.runs.kinds.looking import inside_by
from minillm.runs.kinds.texts import (
    Counted,
    check_size,
    evaluation_blocks,
    given_vocabulary,
    language_results,
    per_byte_and_character,
)
from minillm.runs.load import run_of
from minillm.runs.settings import (
    EvalOptions,
    FilesSettings,
    TokenizerSettings,
    of_text,
    settings,
)
from minillm.text import Vocabulary
from minillm.training.ngram import score_text, train_ngram


@dataclass(frozen=True)
class NGramSettings(FilesSettings, TokenizerSettings):
    """The settings of an n-gram model."""

    unit: str = of_text("word", "the tokens of the n-grams", choices=("character", "word", "bpe"))
    minimum_count: int = of_text(
        2, "words seen less often become the unknown word", "N", least=1, most=10**12
    )
    vocabulary: int | None = of_text(
        None,
        "keep at most the N most frequent words; or learn N byte pairs",
        "N",
        least=2,
        most=100_000_000,
        default_help="all words; 8000 byte pairs",
    )


SETTINGS = settings(
    NGramSettings,
    config=NGramConfig,
    sizes="order smoothing k prune",
    order={"help": "length of the longest n-grams", "metavar": "N", "most": 20},
    smoothing={
        "help": "how unseen n-grams get a probability (kneser-ney is modified Kneser-Ney)",
        "choices": tuple(SMOOTHINGS),
    },
    k={"help": "add-k adds K to each count", "metavar": "K", "above": 0, "rare": True},
    prune={
        "help": "leave out n-grams seen at most C times: a number for 2-grams, one for 3-grams and "
        "so on; the last is for all longer ones, too",
        "metavar": "C",
        "least": 0,
        "most": 10**12,
        "default_help": "0: none",
    },
)


class NGramRun(WritingRun):
    """A run of an n-gram model."""

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """Nats and bits per token, and perplexity with and without the unknown words."""
        name, blocks = evaluation_blocks(self, data, held_out=True)
        return text_results(self.model, self.tokenizer, blocks, name)

    def trace(self, text: str) -> Trace:
        """The arrays that ``look`` shows of a text."""
        return inside_by(read_counted, self, text)

    def described(self) -> str:
        """A line about its size."""
        return _sizes(self.config)


def train(training: Training) -> bool:
    """Count, smooth, save, and measure on the held-out text."""
    settings, folder = training.settings, training.folder
    if list(settings.prune) != sorted(settings.prune):
        raise InputError(f"expected counts that do not fall, found {list(settings.prune)}", "prune")
    start = time.perf_counter()
    report = partial(print, file=sys.stderr) if not training.quiet else lambda _: None
    text = TextStream(training.data["files"])
    cut = text.characters * 9 // 10
    # By default, the vocabulary is counted in the text.
    check_size(settings.unit, settings.vocabulary)
    vocabulary = given_vocabulary(training)
    training.model, tokenizer, tokens = train_ngram(text, cut, settings, report, vocabulary)
    seconds = time.perf_counter() - start
    report(f"{tokens:,} tokens in {seconds:.1f} s, {tokens / seconds:,.0f} tokens/s")
    report(f"saving, then measuring on {text.characters - cut:,} characters")
    training.record(text.sha256, "the text")
    save_run(folder, training.config(), training.model.params, {"tokenizer": tokenizer})
    training.report(_sizes(training.model.config))
    held_out = text.blocks(start=cut)
    results = text_results(training.model, tokenizer, held_out, "the held-out last tenth")
    for key in ("bits_per_token", "perplexity"):
        training.report(f"held-out {key.replace('_', ' ')}: {results[key]:.4f}")
    training.report(f"saved in {folder.path}")
    return True


def build(config: NGramConfig, vocabularies: Vocabularies, weights: Weights, _: type) -> NGram:
    """The model.  ValueError, with the array's name, for a damaged one."""
    names = [f"word.{n}" for n in range(1, config.order + 1)]
    if tuple(weights[name].size for name in names) != config.sizes:
        raise ValueError("its sizes do not agree with the tensors stored")
    return NGram(config, dict(weights))


def _sizes(config: NGramConfig) -> str:
    return ", ".join(f"{size:,} {n}-grams" for n, size in enumerate(config.sizes, start=1))


def text_results(model: NGram, tokenizer: Vocabulary, blocks: Iterable[str], name: str) -> Results:
    """The figures of an n-gram model on a text, with and without its unknown words."""
    text = Counted(blocks)
    score = score_text(model, tokenizer, iter(text), name)
    tokens = score.tokens + score.unknown
    nats = -(score.log10 + score.unknown_log10) * math.log(10) / tokens
    results = language_results(name, tokenizer, nats, tokens)
    if tokenizer.unknown is not None:
        known_nats = -score.log10 * math.log(10) / max(1, score.tokens)
        results["unknown_share"] = score.unknown / tokens
        results["perplexity_of_known"] = perplexity(known_nats)
        return results
    return results | per_byte_and_character(nats * tokens, text)


NGRAM = Kind(
    name="ngram",
    description="""\
Count the n-grams of a text, and smooth the counts into probabilities.  This was the usual language
model before recurrent networks.  The last tenth of the text is held out, to measure the model on
text that it has not seen.  In a model of words, each line is a sentence.""",
    examples="""\
  minillm train ngram --out runs/words
        5-grams of words, on the Python language reference that ships with every CPython
  minillm train ngram shakespeare.txt --unit character --order 7 --out runs/characters
  minillm train ngram shakespeare.txt --order 3 --smoothing witten-bell --out runs/wb
  minillm train ngram large.txt --prune 0 0 1 --out runs/large
        without the 3-grams, 4-grams and 5-grams seen only once

then: minillm generate DIR, minillm eval DIR, minillm export DIR model.arpa""",
    run=NGramRun,
    model=NGram,
    config=NGramConfig,
    train=train,
    build=build,
    imported=run_of,
    takes=("text",),
    resumable=False,
    settings=SETTINGS,
)
