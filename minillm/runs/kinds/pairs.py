"""Encoder-decoders: training on pairs of texts, translations and summaries, and their measures."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm import metrics
from minillm.data import Minibatches, Sequences, registry
from minillm.data.pairs import Pair, read_pairs
from minillm.data.splits import Split
from minillm.decoding import Translator
from minillm.decoding.summaries import Length
from minillm.errors import InputError, missing_extra
from minillm.layers import attention
from minillm.look.measurements import read_pair
from minillm.look.trace import MOST, Trace
from minillm.metrics import frequency_loss
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.models.extractive import lead, oracle, textrank
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig
from minillm.models.transformer import Transformer, TransformerConfig
from minillm.option import make, option
from minillm.runs.kind import EvalData, Given, Kind, Results, Training, open_parts
from minillm.runs.kinds.language import begin_with_adamw, with_rate
from minillm.runs.kinds.texts import given_vocabulary, trace_of, vocabulary_for
from minillm.runs.run import Summarises
from minillm.runs.settings import (
    MUON,
    SEARCH,
    EvalOptions,
    LoRASettings,
    SummarySearch,
    TrainingSettings,
    VocabularySettings,
    by_default,
    config_from,
    of_data,
    of_text,
    of_validation,
    search_options,
    settings,
)
from minillm.text import UNITS, Vocabulary
from minillm.text.open_words import OpenWords
from minillm.training.minibatches import MinibatchTask, fingerprint, mean_loss
from minillm.training.schedules import SCHEDULES

EXAMPLES = 3  # shown after a training
BATCH = 256  # pairs that are measured together
TOGETHER = 256  # texts that are summarised together: texts of similar length share a batch
MOST_UNKNOWN = 0.2  # of the words of a side: above it, the model mostly learns the unknown word
UNKNOWN = "unknown words in the validation pairs: {:.1%} in the sources, {:.1%} in the targets"
TARGETS_COUNT = 5  # times, among the words of a summariser: a word of a target will be written
ADAM_RATE, MUON_RATE = 2e-3, 8e-3  # learning rates; Muon's is of a Transformer 128 wide


@dataclass(frozen=True)
class PairSettings(VocabularySettings, TrainingSettings, LoRASettings):
    """Settings of every model of pairs of texts."""

    data: str | None = of_data("a file of pairs, or cmudict, numbers-en-fr, docstrings")
    validation: str | None = of_validation(
        "pairs to measure on (default: DATA's last tenth)", "FILE"
    )
    unit: str | None = of_text(
        None,
        "the tokens of both sides: character, word, token (between spaces), bpe or wordpiece",
        choices=tuple(UNITS),
        default_help="word, or what suits the data",
    )
    max_source: int = of_text(400, "read the first N tokens of a source", "N", least=1, most=10_000)
    max_target: int = of_text(
        100, "learn to write the first N tokens of a target", "N", least=1, most=10_000
    )
    pretokenised: bool = of_text(
        False, "the texts are tokenised already, so BLEU splits them at spaces", rare=True
    )
    batch: int = 128


# --- training --------------------------------------------------------------------------------


def prepare(training: Training) -> None:
    """Vocabularies, and minibatches for training and validation."""
    settings, data = training.settings, training.data
    pairs = open_parts("pairs", data)
    source, target = new_vocabularies(training, pairs)
    encoded = {
        part: encode_pairs(pairs[part], source, target, settings)
        for part in ("training", "validation")
    }
    for part, (columns, cut, _) in encoded.items():
        if not len(columns[0]):
            raise InputError(f"{data['data']}: expected {part} pairs, found none")
        training.notes.append(f"{len(columns[0]):,} {part} pairs{cut}")
    (sources, targets), validation = (each.columns for each in encoded.values())
    if source.unknown is not None or target.unknown is not None:
        shares = encoded["validation"].unknown
        many = ": the model cannot write them; --unit character or bpe has none"
        training.notes.append(UNKNOWN.format(*shares) + many * (max(shares) > MOST_UNKNOWN))
    training.record(fingerprint((sources, targets)), data["data"], "the data have")
    training.info["longest_target"] = int(targets.lengths.max())
    training.vocabularies = {"source": source, "target": target}
    training.unit, training.item = "token", "pair"
    training.baseline = frequency_loss(targets.ids, validation[1].ids)
    config = config_from(
        settings,
        training.kind.config,
        source_vocabulary=len(source),
        target_vocabulary=len(target),
        vocabulary=len(target),  # of a summariser
        shared=getattr(settings, "joint", False),
    )
    training.model = training.kind.model(config, training.rng)
    batches = [
        Minibatches(each.columns, settings.batch, settings.seed) for each in encoded.values()
    ]
    training.task = MinibatchTask(training.model, batches[0], batches[1], count_tokens)


def complete(training: Training, given: Given) -> Any:
    """The settings with the learning rate that suits the optimiser."""
    return with_rate(training, MUON_RATE if training.settings.optimiser == "muon" else ADAM_RATE)


def new_vocabularies(training: Training, pairs: Split[Pair]) -> tuple[Vocabulary, Vocabulary]:
    """The vocabularies of source and target (one object if shared); with ``--init``, the run's own.

    A summariser has one for both sides, and so has a Transformer with ``joint``.
    """
    settings, copies = training.settings, training.kind.model is PointerGenerator
    if training.initial is not None:
        return training.initial.source, training.initial.target

    def of_sides(*sides: int) -> Vocabulary:
        """The vocabulary of the sources (side 0), of the targets (side 1), or of both."""
        unit = settings.unit or registry.set_of_pairs(training.data["data"]).units[sides[0]]
        texts, held_out = (
            (pair[side] for pair in pairs[part] for side in sides)
            for part in ("training", "validation")
        )
        if copies and unit == "word":
            given, sizes = given_vocabulary(training), (settings.minimum_count, settings.vocabulary)
            return given or OpenWords.from_texts(texts, *sizes)
        return vocabulary_for(training, unit, texts, held_out)

    if copies and settings.unit == "word":  # a word of a source can be copied
        one = of_sides(0, *[1] * TARGETS_COUNT)
    elif copies or getattr(settings, "joint", False):
        one = of_sides(0, 1)
    else:
        return of_sides(0), of_sides(1)
    return one, one


class Encoded(NamedTuple):
    """Pairs as ids, and how much of them is lost."""

    columns: tuple[Sequences, Sequences]  # sources and targets
    cut: str  # the end of a line about them: how many sides are cut
    unknown: list[float]  # the shares of unknown words, of the sources and of the targets


def encode_pairs(
    pairs: Iterable[Pair], source: Vocabulary, target: Vocabulary, settings: PairSettings
) -> Encoded:
    """The ids of pairs.

    EOS follows each target, except one that is cut, because it did not end there.
    """
    sources, targets, cut_sources, cut_targets = Sequences(), Sequences(), 0, 0
    most, most_written = settings.max_source, settings.max_target
    for number, (source_text, target_text) in enumerate(pairs, start=1):
        ids = source.encode(source_text, f"source {number}")
        written = target.encode_target(target_text, source_text, most, f"target {number}")
        is_cut = len(written) > most_written
        sources.append(ids[:most])
        targets.append(written[:most_written] if is_cut else [*written, len(target)])
        cut_sources += len(ids) > most
        cut_targets += is_cut
    cut = f", {cut_sources:,} sources are cut to {most:,} tokens" if cut_sources else ""
    cut += f", {cut_targets:,} targets are cut to {most_written:,} tokens" if cut_targets else ""
    unknown = []
    for side, vocabulary in ((sources, source), (targets, target)):
        words = side.ids[side.ids != len(vocabulary)]  # without EOS
        unknown.append(float((words == vocabulary.unknown).sum()) / max(1, len(words)))
    return Encoded((sources, targets), cut, unknown)


def count_tokens(batch: tuple[NDArray, ...]) -> int:
    """The number of target tokens of a batch, including EOS: the loss is their mean."""
    return int(batch[3].sum())


# --- runs ------------------------------------------------------------------------------------


class PairRun(Summarises):
    """A run that was trained on pairs of texts: it translates and summarises."""

    source: Vocabulary
    target: Vocabulary

    def translate(self, texts: str | Sequence[str], **options: Any) -> Any:
        """The best output for one text, or a list of outputs for a list of texts.

        It has the options of ``hypotheses``.

        >>> minillm.load("runs/mt").translate("a man .", beam=5, no_repeat=3)  # doctest: +SKIP
        """
        if isinstance(texts, str):
            return self.translate([texts], **options)[0]
        return [best[0].text for best in self.hypotheses(texts, **options)]

    def hypotheses(self, texts: str | Sequence[str], **options: Any) -> Any:
        """The outputs for each text, best first, with scores and attention weights.

        For one text, it is a list of :class:`minillm.decoding.Translation`; for a list of texts, a
        list of lists.  See :meth:`minillm.decoding.Translator.translate` for the options.
        """
        if isinstance(texts, str):
            return self.hypotheses([texts], **options)[0]
        return self.translator().translate(texts, **options)

    def translator(self, most: int = 10_001) -> Translator:
        """The model with its vocabularies, which reads and writes at most ``most`` tokens."""
        lengths = self.settings.max_source, self.data["longest_target"]
        limits = (min(length, most) for length in lengths)
        return Translator(self.model, self.source, self.target, *limits)

    def summaries_within(
        self,
        length: Length,
        texts: Sequence[str],
        places: Sequence[str],
        report: Callable[[str], None],
        search: Mapping[str, object],
    ) -> Iterator[str | InputError]:
        """Yield the best outputs of the model; by default, they repeat nothing."""
        options = search_options(make(SummarySearch, search))
        translator, cut = self.translator(), 0
        for at in range(0, len(texts), TOGETHER):
            rows = range(len(texts))[at : at + TOGETHER]
            found: dict[int, str | InputError] = {}
            for row in rows:
                try:
                    translator.encode([texts[row]], [places[row]])
                except InputError as error:
                    found[row] = error
            read = [row for row in rows if row not in found]
            outputs = self.hypotheses([texts[row] for row in read], **options)
            for row, (best, *_) in zip(read, outputs, strict=True):
                cut += best.cut
                found[row] = length.cut(best.text)
            yield from (found[row] for row in rows)
        if cut:
            report(f"{cut:,} of {len(texts):,} texts are cut to {translator.longest:,} tokens")

    def trace(self, text: str, target: str | None = None) -> Trace:
        """The arrays that ``look`` shows of a text and its target, by default the model's output.

        Logits and attention are measured as :mod:`minillm.look.measurements` says.
        """
        translator, eos = self.translator(MOST), len(self.target)
        whole, notes = translator.encode([text], ["TEXT"])[0], []
        source = whole[: translator.longest]
        if len(whole) > len(source):
            notes.append(f"the first {len(source)} of {len(whole):,} tokens of the source are read")
        if target is None:
            hypothesis = translator.translate([text])[0][0].hypothesis
            ids = [*hypothesis.ids, *[eos] * hypothesis.ended]
            notes.append("the target is the model's own output")
        else:
            ids = [*self.target.encode_target(target, text, translator.longest, "target"), eos]
            notes.append("the target is the given one")
            if len(ids) > MOST:
                notes.append(f"the first {MOST} of its {len(ids) - 1:,} tokens are shown")
                ids = ids[:MOST]
        logits, weights = read_pair(self.model, source, np.array(ids))
        words = self.source.split(text)
        added = dict(zip(whole.tolist(), words, strict=False))

        def label(token: int) -> str:
            if token > eos:  # the source has added it
                return added[token]
            return "(end)" if token == eos else self.target.show(token)

        if not isinstance(self.source, OpenWords):  # others are not copied
            words = [self.source.show(token) for token in source.tolist()]
        return trace_of(
            self,
            self.target,
            np.zeros(0, np.int64),
            unit="token",
            tokens=[label(token) for token in ids],
            ids=np.array(ids),
            label=label,
            source=words[: len(source)],
            logits=np.concatenate([logits, np.full_like(logits[:1], np.nan)]).astype(np.float64),
            attention=weights,
            notes=notes,
        )

    def sample(self) -> Iterator[str]:
        """Yield outputs for a few held-out sources."""
        pairs = open_parts("pairs", self.data)["validation"]
        yield "held-out examples: the source, the output, the target\n"
        for source, target in islice(dict(pairs).items(), EXAMPLES):
            texts = (shorten(text, 100) for text in (source, self.translate(source), target))
            yield "  {}\n    -> {}\n    == {}\n".format(*texts)

    def task(self) -> str:
        """The task, which determines the measures: a built-in set of pairs declares it."""
        return registry.set_of_pairs(self.data["data"]).task

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """The loss, the share of exact outputs, and the usual measures of the task."""
        own = partial(open_parts, "pairs", self.data)
        name, pairs = data.items(read_pairs, options.part, own)
        if not pairs:
            raise InputError("expected pairs, found none", name)
        columns, cut, unknown = encode_pairs(pairs, self.source, self.target, self.settings)
        if cut:
            data.report(f"{name}: {len(pairs):,} pairs{cut}")
        task = self.task()
        if task != "pronunciation" and not metrics.has_packages():
            data.report(f"not measured: {missing_extra('bleu, chrf, rouge', 'metrics')}")
        nats = mean_loss(self.model, Minibatches(columns, BATCH, 0), count_tokens)
        references = by_source(pairs)
        sources, known = list(references), list(references.values())
        outputs = self.translate(sources, **search_options(options))
        results: Results = {
            "data": name,
            "sources": len(sources),
            "beam": options.beam,
            "nats_per_token": nats,
            "perplexity": metrics.perplexity(nats),
        }
        if self.target.unknown is not None:
            # For the perplexity, a model may predict unknown words; it does not write them.
            results["unknown_target_words"] = unknown[1]
        split = self.target.split
        if task == "pronunciation":  # outputs are phonemes
            results["word_error_rate"] = 1 - metrics.exact_match(outputs, known)
            results["phoneme_error_rate"] = metrics.token_error_rate(outputs, known, split)
            return results
        tokenised = self.target.pretokenised or self.settings.pretokenised
        results |= metrics.measure_texts(outputs, known, split=split, tokenised=tokenised)
        if task == "summary":
            results |= summary_results(outputs, sources, known, options.beside)
        return results


class SummariserRun(PairRun):
    """A run of a summariser."""

    def hypotheses(self, texts: str | Sequence[str], **options: Any) -> Any:
        """See :meth:`PairRun.hypotheses`; by default, it searches for summaries."""
        return super().hypotheses(texts, **search_options(SummarySearch()) | options)

    def task(self) -> str:
        """The task of its pairs: summaries."""
        return "summary"


def by_source(pairs: Iterable[Pair]) -> dict[str, list[str]]:
    """The targets of each source, in their order: its references."""
    references: dict[str, list[str]] = {}
    for source, target in pairs:
        references.setdefault(source, []).append(target)
    return references


def summary_results(
    outputs: Sequence[str],
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    beside: bool,
) -> Results:
    """The measures of outputs against their sources; ``beside`` them, ROUGE of three extracts.

    Sentences of the text itself cost no training.  So a model is worth its training only if it is
    better than the first sentence and than the one that TextRank chooses.  The oracle, which knows
    the references, chooses the best: a model above it does what no extract of a sentence can do.
    """
    results: Results = {**metrics.measure_summaries(outputs, sources)}
    if not metrics.has_packages():
        return results
    results["rouge"] = "stemmed, 0 to 1; of several references, the best"
    if beside:
        score = metrics.rouge_scores()
        extracts = {
            "lead": map(lead, sources),
            "textrank": map(textrank, sources),
            "oracle": (
                oracle(text, known, lambda output, known: sum(score(output, known).values()))
                for text, known in zip(sources, references, strict=True)
            ),
        }
        for name, chosen in extracts.items():
            scores = metrics.rouge([" ".join(sentences) for sentences in chosen], references)
            results |= {f"{name}_{measure}": value for measure, value in scores.items()}
    return results


# --- the kinds -------------------------------------------------------------------------------

pair_kind = partial(
    Kind,
    run=PairRun,
    prepare=prepare,
    complete=complete,
    takes=("pairs",),
    info=("longest_target",),
    eval_options=(*SEARCH, "part", "beside"),
    vocabularies={
        "source": ("vocabulary.source.json", "source_vocabulary"),
        "target": ("vocabulary.target.json", "target_vocabulary"),
    },
)

DESCRIPTION = """\
Train {model}, which reads one sequence and writes another, on pairs of texts: a file of
lines source<TAB>target, whose last tenth is held out; or a built-in set: cmudict (English words to
phonemes), numbers-en-fr (numbers in words, also of other languages), or docstrings (the source of a
Python function to the first sentence of its docstring).
"""
THEN = """

then: minillm translate DIR, minillm eval DIR, minillm plot attention DIR "a source text\""""

recurrent_settings = partial(
    settings,
    PairSettings,
    layers={"help": "layers of the encoder, and of the decoder", "most": 64},
    hidden={"help": "width of the decoder, and of each direction of the encoder"},
    learning_rate=ADAM_RATE,
)

SEQ2SEQ = pair_kind(
    name="seq2seq",
    description=DESCRIPTION.format(model="an encoder-decoder")
    + """\
With --attention none, the decoder sees the source as one vector, as in 2014; otherwise it sees all
positions of the source at each step, as since 2015.""",
    examples=f"""\
  minillm train seq2seq numbers-en-fr --out runs/numbers --minutes 3
  minillm train seq2seq cmudict --out runs/vector --minutes 20 --attention none
  minillm train seq2seq train.tsv --validation val.tsv --unit token --out runs/multi30k
        for texts with spaces around punctuation already{THEN}""",
    model=EncoderDecoder,
    config=EncoderDecoderConfig,
    settings=recurrent_settings(
        config=EncoderDecoderConfig,
        sizes="attention cell layers hidden embedding dropout label_smoothing",
        attention={"help": "attention to the source", "choices": tuple(attention.KINDS)},
    ),
)

TRANSFORMER = pair_kind(
    name="transformer",
    description=DESCRIPTION.format(model="a Transformer")
    + """\
It is the model of "Attention is all you need" (2017); train seq2seq trains a recurrent one.""",
    examples=f"""\
  minillm train transformer numbers-en-fr --out runs/numbers --minutes 3
  minillm train transformer train.tsv --validation val.tsv --unit bpe --joint --pretokenised \\
      --vocabulary 6000 --feed-forward 256 --dropout 0.3 --out runs/multi30k --minutes 60{THEN}""",
    model=Transformer,
    config=TransformerConfig,
    begin=begin_with_adamw,
    settings=settings(
        PairSettings,
        config=TransformerConfig,
        sizes="layers heads width feed_forward post_norm dropout label_smoothing",
        layers={"help": "blocks of the encoder, and of the decoder", "most": 256},
        width={"help": "width of a block: even, a multiple of the heads", "least": 2},
        post_norm={
            "help": "norm after each sum, as published, not inside the branch",
            "rare": True,
        },
        schedule=(
            str,
            option(
                "cosine",
                "shape of the learning rate over the run; inverse-sqrt as published",
                choices=tuple(SCHEDULES),
                group="gradient descent",
                rare=True,
            ),
        ),
        joint=(
            bool,
            option(
                False,
                "one vocabulary for both sides, one matrix for embeddings and output",
                group="the text",
            ),
        ),
        warmup=0.05,
        batch=64,
        beta2=0.98,
        vocabulary=8000,
        optimiser=MUON,
        learning_rate=by_default("8e-3; with adamw and sgd 2e-3; with --init 0.3 of it"),
        momentum=0.95,
    ),
)

SUMMARISER = pair_kind(
    name="summariser",
    description="""\
Train a summariser on pairs of a text and its summary: a file of lines text<TAB>summary, or of
{"source": "...", "target": "..."} in a .jsonl file ("target" may be a list); its last tenth is held
out.  The model writes words of its vocabulary, or copies words of the text: also unknown names.""",
    examples="""\
  minillm train summariser emails.tsv --out runs/emails
  minillm train summariser train.tsv --validation val.tsv --out runs/papers --minutes 30

then: minillm summarise DIR report.txt, minillm eval DIR, minillm plot attention DIR "a text\"""",
    model=PointerGenerator,
    config=PointerGeneratorConfig,
    run=SummariserRun,
    vocabularies={
        "source": ("vocabulary.json", "vocabulary"),
        "target": ("vocabulary.json", "vocabulary"),
    },
    settings=recurrent_settings(
        config=PointerGeneratorConfig,
        sizes="cell layers hidden embedding coverage dropout",
        unit={
            "default": "word",
            "help": "tokens: word, in lower case, with the words of each source added; or bpe",
            "choices": ("word", "bpe"),
            "default_help": None,
        },
        vocabulary=10_000,
        batch=32,
    ),
)
