"""The shared parts of encoder-decoders: pairs of texts, translations, and their measures."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, replace
from itertools import islice
from operator import gt
from textwrap import shorten
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm import metrics
from minillm.data import Minibatches, Sequences, registry
from minillm.data.pairs import Pair, read_pairs
from minillm.data.splits import Split
from minillm.decoding import Translation, Translator
from minillm.decoding.summaries import Length
from minillm.errors import InputError, missing_extra
from minillm.layers import attention
from minillm.layers.recurrent import CELLS
from minillm.look.inside import MOST, Inside
from minillm.look.measurements import (
    Translated,
    read_encoder_decoder,
    read_pointer_generator,
    read_transformer,
)
from minillm.metrics import frequency_loss
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.models.extractive import lead, oracle, textrank
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig
from minillm.models.transformer import Transformer, TransformerConfig
from minillm.option import option
from minillm.runs.kind import Data, Given, Job, Kind, Parts, Results
from minillm.runs.kinds._look import inside_of
from minillm.runs.kinds._text_data import vocabulary_for
from minillm.runs.kinds.language import with_rate
from minillm.runs.run import Run
from minillm.runs.settings import (
    ComparedEvaluation,
    Facts,
    LoRASettings,
    SearchEvaluation,
    SummarySearch,
    TrainingSettings,
    VocabularySettings,
    config_from,
    of_data,
    of_text,
    of_validation,
    search_options,
    size,
    with_default,
)
from minillm.summary_metrics import measure_summaries
from minillm.text import UNITS, Vocabulary, build_vocabulary
from minillm.text.open_words import OpenWords
from minillm.training.minibatches import MinibatchTask, fingerprint, mean_loss
from minillm.training.schedules import SCHEDULES

EXAMPLES = 3  # shown after a training
BATCH = 256  # pairs that are measured together
TOGETHER = 256  # texts that are summarised together: texts of similar length share a batch
MOST_UNKNOWN = 0.2  # of the words of a side: above it, the model mostly learns the unknown word
MOST_CUT = 0.05  # of the pairs, by their characters: above it, the unit is the byte pair
FEW_BYTE_PAIRS = 2000  # for rare words, which more byte pairs would keep whole
BUILT_IN = """\
  cmudict        English words to phonemes
  numbers-en-fr  numbers in words, English to French; and between other languages
  docstrings     the source of a Python function to the first sentence of its docstring"""


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
        False, "words are separated by spaces already, also for BLEU", rare=True
    )
    batch: int = 128


@dataclass(frozen=True, kw_only=True)
class PairFacts(Facts):
    """Facts about the pairs."""

    longest_target: int = option(
        MISSING, "tokens of the longest target, with EOS", least=1, most=10_001
    )


@dataclass(frozen=True)
class PairEvaluation(SearchEvaluation, ComparedEvaluation):
    """Options of measuring a model of pairs; summaries may be compared with extracts."""


class PairKind(Kind):
    """An encoder-decoder on pairs of texts."""

    takes: ClassVar[tuple[str, ...]] = ("pairs",)
    facts = PairFacts
    evaluation = PairEvaluation
    vocabularies: ClassVar[dict[str, tuple[str, str]]] = {
        "source": ("vocabulary.source.json", "source_vocabulary"),
        "target": ("vocabulary.target.json", "target_vocabulary"),
    }

    # How the model reads a source and a target: see minillm.look.measurements.
    reading: ClassVar[Callable[..., Translated]]

    def sizes(self, settings: PairSettings) -> dict[str, object]:
        """Fields of the model's config that follow from settings with other names."""
        return {}

    def vocabulary_sizes(self, source: int, target: int) -> dict[str, object]:
        """Fields of the model's config for vocabularies of these sizes."""
        return {"source_vocabulary": source, "target_vocabulary": target}

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """The settings with a unit of their own if too many held-out words are unknown.

        The unit is the character, or the byte pair if too many texts have more characters than are
        read.
        """
        if settings.unit or job.data.get("init") or job.data.get("tokenizer"):
            return settings
        pairs = open_data(job.data)
        if "word" not in registry.set_of_pairs(job.data["data"]).units:
            return settings
        vocabularies = self.new_vocabularies(pairs, job)
        columns, _ = encode_pairs(pairs["validation"], *vocabularies, settings)
        shares = unknown_shares(columns, *vocabularies)
        if max(shares) <= MOST_UNKNOWN:
            return settings
        most = (settings.max_source, settings.max_target)
        cut = [any(map(gt, map(len, pair), most)) for pair in pairs["training"]]
        changed = replace(settings, unit="character")
        if np.mean(cut) > MOST_CUT:
            size = settings.vocabulary if "vocabulary" in given else FEW_BYTE_PAIRS
            changed = replace(settings, unit="bpe", vocabulary=size)
        job.report(
            f"{describe_unknown(shares)}: too many, so the unit is {changed.unit}; "
            "--unit sets another one"
        )
        return changed

    def prepare(self, job: Job, rng: np.random.Generator) -> Parts:
        """Vocabularies, and minibatches for training and validation."""
        settings, data, renamed = job.settings, job.data, self.sizes(job.settings)
        config_from(settings, self.config, **self.vocabulary_sizes(1, 1), **renamed)  # before data
        pairs = open_data(data)
        source, target = self.new_vocabularies(pairs, job)
        columns, notes = [], []
        for part in ("training", "validation"):
            encoded, cut = encode_pairs(pairs[part], source, target, settings)
            if not len(encoded[0]):
                raise InputError(f"{data['data']}: expected {part} pairs, found none")
            notes.append(f"{len(encoded[0]):,} {part} pairs{describe_cut(cut, settings)}")
            columns.append(encoded)
        training, validation = columns
        if source.unknown is not None or target.unknown is not None:
            shares = unknown_shares(validation, source, target)
            many = ": the model cannot write them; the unit character has none"
            notes.append(describe_unknown(shares) + many * (max(shares) > MOST_UNKNOWN))
        job.record(fingerprint(training), data["data"], "the data have")
        lengths = self.vocabulary_sizes(len(source), len(target))
        model = self.model(config_from(settings, self.config, **lengths, **renamed), rng)
        batches = [Minibatches(part, settings.batch, settings.seed) for part in columns]
        return Parts(
            model=model,
            task=MinibatchTask(model, batches[0], batches[1], count_tokens),
            unit="token",
            vocabularies={"source": source, "target": target},
            notes=notes,
            item="pair",
            baseline=frequency_loss(training[1].ids, validation[1].ids),
            facts=PairFacts(longest_target=int(training[1].lengths.max())),
        )

    def new_vocabularies(self, pairs: Split[Pair], job: Job) -> tuple[Vocabulary, Vocabulary]:
        """The vocabularies of source and target, which ``--init`` may give."""
        if job.initial:
            return job.initial.source, job.initial.target
        return vocabulary_of(pairs, job, 0), vocabulary_of(pairs, job, 1)

    def hypotheses(self, run: Run, texts: Sequence[str], **options: Any) -> list[list[Translation]]:
        """See :meth:`minillm.runs.run.Run.hypotheses`."""
        return self._translator(run).translate(texts, **options)

    def _translator(self, run: Run) -> Translator:
        longest, limit = run.settings.max_source, run.data["longest_target"]
        return Translator(run.model, run.source, run.target, longest, limit)

    def summaries(
        self,
        run: Run,
        texts: Sequence[str],
        places: Sequence[str],
        length: Length,
        report: Callable[[str], None],
        **search: Any,
    ) -> Iterator[str | InputError]:
        """See :meth:`minillm.runs.run.Run.summaries`; by default nothing is repeated."""
        translator, options = self._translator(run), search_options(SummarySearch(**search))
        cut = 0
        for at in range(0, len(texts), TOGETHER):
            rows = range(len(texts))[at : at + TOGETHER]
            refused: dict[int, InputError] = {}
            for row in rows:
                try:
                    translator.encode([texts[row]], [places[row]])
                except InputError as error:
                    refused[row] = error
            read = [texts[row] for row in rows if row not in refused]
            outputs = (best[0] for best in run.hypotheses(read, **options))
            for row in rows:
                if row in refused:
                    yield refused[row]
                    continue
                output = next(outputs)
                cut += output.cut
                yield length.cut(output.text)
        if cut:
            report(f"{cut:,} of {len(texts):,} texts are cut to {translator.longest:,} tokens")

    def look(self, run: Run, text: str, target: str | None = None) -> Inside:
        """See :meth:`minillm.runs.run.Run.look`; without a target, it is the model's output."""
        longest, eos = min(run.settings.max_source, MOST), len(run.target)
        limit = min(run.data["longest_target"], MOST)
        translator = Translator(run.model, run.source, run.target, longest, limit)
        whole = translator.encode([text], ["TEXT"])[0]
        source, notes = whole[:longest], []
        if len(whole) > longest:
            notes.append(f"the first {longest} of {len(whole):,} tokens of the source are read")
        if target is None:
            hypothesis = translator.translate([text])[0][0].hypothesis
            ids = [*hypothesis.ids, *[eos] * hypothesis.ended]
            notes.append("the target is the model's own output")
        else:
            ids = [*run.target.encode_target(target, text, longest, "target"), eos]
            notes.append("the target is the given one")
            if len(ids) > MOST:
                notes.append(f"the first {MOST} of its {len(ids) - 1:,} tokens are shown")
                ids = ids[:MOST]
        logits, by_source, by_target, attention = self.reading(run.model, source, np.array(ids))

        label = self.labels(run, text)
        return inside_of(
            run,
            run.target,
            np.zeros(0, np.int64),
            unit="token",
            tokens=[label(token) for token in ids],
            ids=np.array(ids),
            label=label,
            source=[run.source.show(token) for token in source.tolist()],
            logits=np.concatenate([logits, np.full_like(logits[:1], np.nan)]).astype(np.float64),
            gradient=by_target,
            source_gradient=by_source,
            attention=attention,
            notes=notes,
        )

    def labels(self, run: Run, text: str) -> Callable[[int], str]:
        """The label of each id of an output; ids above EOS are words that its source has added."""
        eos = len(run.target)
        ids = run.source.encode(text, "TEXT").tolist()
        added = dict(zip(ids, run.source.split(text), strict=False))

        def label(token: int) -> str:
            if token > eos:
                return added[token]
            return "(end)" if token == eos else run.target.show(token)

        return label

    def task(self, run: Run) -> str:
        """The task, which determines the measures: a built-in set of pairs declares it."""
        return registry.set_of_pairs(run.data["data"]).task

    def held_out(self, run: Run, given: Given, part: str | None) -> tuple[str, Sequence[Pair]]:
        """The given pairs, or those of a part of the run's data, and their name."""
        if given.title:
            return given.title, [pair for file in given.files for pair in read_pairs(file)]
        part = part or "validation"
        return f"{run.data['data']}, {part}", open_data(run.data)[part]

    def sample(self, run: Run) -> Iterator[str]:
        """Yield outputs for a few held-out sources."""
        held_out = self.held_out(run, Given(), None)[1]
        references = dict(islice(by_source(held_out).items(), EXAMPLES))
        outputs = run.translate([*references])
        yield "held-out examples: the source, the output, the target\n"
        for source, output in zip(references, outputs, strict=True):
            texts = (shorten(text, 100) for text in (source, output, references[source][0]))
            yield "  {}\n    -> {}\n    == {}\n".format(*texts)

    def evaluate(self, run: Run, given: Given, options: PairEvaluation) -> Results:
        """The loss, the share of exact outputs, and the usual measures of the task."""
        name, pairs = self.held_out(run, given, options.part)
        if not pairs:
            raise InputError(f"{name}: expected pairs, found none")
        columns, cut = encode_pairs(pairs, run.source, run.target, run.settings)
        if any(cut):
            given.report(f"{name}: {len(pairs):,} pairs{describe_cut(cut, run.settings)}")
        task = self.task(run)
        if missing := not_measured(task):
            given.report(missing)
        nats = mean_loss(run.model, Minibatches(columns, BATCH, 0), count_tokens)
        references = by_source(pairs)
        sources, known = list(references), list(references.values())
        start = time.perf_counter()
        outputs = run.translate(sources, **search_options(options))
        seconds = time.perf_counter() - start
        unknown = {}  # for the perplexity, a model may predict them; it does not write them
        if run.target.unknown is not None:
            unknown["unknown_target_words"] = unknown_shares(columns, run.source, run.target)[1]
        return {
            "data": name,
            "sources": len(references),
            "beam": options.beam,
            "sources_per_second": len(references) / seconds,
            "nats_per_token": nats,
            "perplexity": metrics.perplexity(nats),
            **unknown,
            **output_results(run, task, outputs, known),
            **(
                summary_results(outputs, sources, known, options.beside)
                if task == "summary"
                else {}
            ),
        }


def by_source(pairs: Iterable[Pair]) -> dict[str, list[str]]:
    """The targets of each source, in their order: its references."""
    references: dict[str, list[str]] = {}
    for source, target in pairs:
        references.setdefault(source, []).append(target)
    return references


def not_measured(task: str) -> str:
    """A line about measures whose packages are not installed, or nothing."""
    if task == "pronunciation" or metrics.has_packages():
        return ""
    return f"not measured: {missing_extra('bleu, chrf, rouge', 'metrics')}"


def output_results(
    run: Run, task: str, outputs: Sequence[str], references: Sequence[Sequence[str]]
) -> Results:
    """The usual measures of the task, for outputs against their references."""
    split = run.target.split
    if task == "pronunciation":  # outputs are phonemes
        return {
            "word_error_rate": 1 - metrics.exact_match(outputs, references),
            "phoneme_error_rate": metrics.token_error_rate(outputs, references, split),
        }
    tokenised = run.target.pretokenised or run.settings.pretokenised
    return metrics.measure_texts(outputs, references, split=split, tokenised=tokenised)


# --- data ------------------------------------------------------------------------------------


def open_data(data: Data) -> Split[Pair]:
    """The pairs of a file or of a built-in set."""
    if not data.get("data"):
        raise InputError("DATA: expected a file or a built-in set, found none")
    return registry.open_data("pairs", data["data"], data.get("validation"))


def vocabulary_of(pairs: Split[Pair], job: Job, *sides: int) -> Vocabulary:
    """The vocabulary of the sources (side 0), of the targets (side 1), or of both."""
    settings = job.settings
    unit = settings.unit or registry.set_of_pairs(job.data["data"]).units[sides[0]]
    training, held_out = (
        (pair[side] for pair in pairs[part] for side in sides)
        for part in ("training", "validation")
    )
    return vocabulary_for(
        replace(job, initial=None),
        unit,
        lambda: build_vocabulary(
            training, unit, settings.minimum_count, settings.vocabulary, held_out=held_out
        ),
    )


def encode_pairs(
    pairs: Iterable[Pair], source: Vocabulary, target: Vocabulary, settings: PairSettings
) -> tuple[tuple[Sequences, Sequences], tuple[int, int]]:
    """The pairs as ids, and the numbers of sources and of targets that are cut.

    EOS follows each target, except one that is cut, because it did not end there.
    """
    sources, targets, cut_sources, cut_targets = Sequences(), Sequences(), 0, 0
    for number, (source_text, target_text) in enumerate(pairs, start=1):
        ids = source.encode(source_text, f"source {number}")
        target_ids = target.encode_target(
            target_text, source_text, settings.max_source, f"target {number}"
        )
        cut_sources += len(ids) > settings.max_source
        sources.append(ids[: settings.max_source])
        if len(target_ids) > settings.max_target:
            cut_targets += 1
            targets.append(target_ids[: settings.max_target])
        else:
            targets.append([*target_ids, len(target)])
    return (sources, targets), (cut_sources, cut_targets)


def describe_cut(cut: tuple[int, int], settings: PairSettings) -> str:
    """The end of a line about pairs: how many sources and targets are cut.

    >>> describe_cut((54, 0), PairSettings())
    ', 54 sources are cut to 400 tokens'
    """
    sides = zip(
        cut, ("sources", "targets"), (settings.max_source, settings.max_target), strict=True
    )
    return "".join(f", {n:,} {side} are cut to {most:,} tokens" for n, side, most in sides if n)


def unknown_shares(
    columns: tuple[Sequences, Sequences], source: Vocabulary, target: Vocabulary
) -> list[float]:
    """The shares of unknown words among the words of the sources, and of the targets."""
    shares = []
    for texts, vocabulary in zip(columns, (source, target), strict=True):
        words = texts.ids[texts.ids != len(vocabulary)]  # without EOS
        unknown = int(np.count_nonzero(words == vocabulary.unknown))
        shares.append(unknown / max(1, len(words)))
    return shares


def describe_unknown(shares: Sequence[float]) -> str:
    """A line about the shares of unknown words."""
    source, target = (f"{share:.1%}" for share in shares)
    return (
        f"unknown words in the validation pairs: {source} in the sources, {target} in the targets"
    )


def count_tokens(batch: tuple[NDArray, ...]) -> int:
    """The number of target tokens of a batch, including EOS: the loss is their mean."""
    return int(batch[3].sum())


SCALE = "stemmed, 0 to 1; of several references, the best"


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
    measured = measure_summaries(outputs, sources)
    if not metrics.has_packages():
        return {**measured}
    results: Results = {"rouge": SCALE, **measured}
    score = metrics.rouge_scores()

    def best(text: str, known: Sequence[str]) -> list[str]:
        return oracle(text, known, lambda output, known: sum(score(output, known).values()))

    choices: dict[str, Callable[[str, Sequence[str]], list[str]]] = {
        "lead": lambda text, known: lead(text),
        "textrank": lambda text, known: textrank(text),
        "oracle": best,
    }
    for name, choose in choices.items() if beside else ():
        texts = zip(sources, references, strict=True)
        extracts = [" ".join(choose(text, known)) for text, known in texts]
        scores = metrics.rouge(extracts, references)
        results |= {f"{name}_{kind}": value for kind, value in scores.items()}
    return results


@dataclass(frozen=True)
class Seq2SeqSettings(PairSettings):
    """The settings of a recurrent encoder-decoder."""

    attention: str = size(
        EncoderDecoderConfig,
        "attention",
        "attention to the source",
        choices=tuple(attention.KINDS),
    )
    cell: str = size(EncoderDecoderConfig, "cell", choices=tuple(CELLS))
    layers: int = size(
        EncoderDecoderConfig, "layers", "layers of the encoder, and of the decoder", most=64
    )
    hidden: int = size(
        EncoderDecoderConfig, "hidden", "width of the decoder, and of each direction of the encoder"
    )
    embedding: int = size(EncoderDecoderConfig, "embedding")
    forward_only: bool = option(
        False, "an encoder that reads in one direction, not in both", rare=True
    )
    dropout: float = size(EncoderDecoderConfig, "dropout")
    label_smoothing: float = size(EncoderDecoderConfig, "label_smoothing")
    learning_rate: float = 2e-3


class Seq2SeqKind(PairKind):
    """A recurrent encoder-decoder on pairs of texts."""

    name = "seq2seq"
    description = f"""\
Train an encoder-decoder, which reads one sequence and writes another, on pairs of texts: a file of
lines source<TAB>target, whose last tenth is held out; or a built-in set:
{BUILT_IN}
With --attention none, the decoder sees the source as one vector, as in 2014; with the other
kinds of attention it sees all positions of the source at each step, as since 2015."""
    examples = """\
  minillm train seq2seq numbers-en-fr --out runs/numbers --minutes 3
  minillm train seq2seq cmudict --out runs/vector --minutes 20 --attention none
  minillm train seq2seq train.tsv --validation val.tsv --unit token --out runs/multi30k
        for texts with spaces around punctuation already

then: minillm translate DIR, minillm eval DIR, minillm plot attention DIR "a source text\""""
    model = EncoderDecoder
    config = EncoderDecoderConfig
    settings = Seq2SeqSettings
    reading = staticmethod(read_encoder_decoder)

    def sizes(self, settings: Seq2SeqSettings) -> dict[str, object]:  # type: ignore[override]
        """The direction of the encoder."""
        return {"bidirectional": not settings.forward_only}

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The sizes of a run of seq2seq."""
        only = not getattr(initial.model.config, "bidirectional", True)
        return super().init_defaults(initial, given) | {"forward_only": only}


ADAM_RATE, MUON_RATE = 2e-3, 8e-3  # of a model 128 wide


@dataclass(frozen=True)
class TransformerSettings(PairSettings):
    """The settings of a Transformer on pairs."""

    layers: int = size(
        TransformerConfig, "layers", "blocks of the encoder, and of the decoder", most=256
    )
    heads: int = size(TransformerConfig, "heads")
    width: int = size(
        TransformerConfig, "width", "width of a block: even, a multiple of the heads", least=2
    )
    feed_forward: int = size(TransformerConfig, "feed_forward")
    post_norm: bool = size(
        TransformerConfig,
        "post_norm",
        "norm after each sum, as published, not inside the branch",
        rare=True,
    )
    dropout: float = size(TransformerConfig, "dropout")
    schedule: str = option(
        "cosine",
        "shape of the learning rate over the run; inverse-sqrt as published",
        choices=tuple(SCHEDULES),
        group="gradient descent",
        rare=True,
    )
    warmup: float = 0.05
    batch: int = 64
    beta2: float = 0.98
    label_smoothing: float = size(TransformerConfig, "label_smoothing")
    joint: bool = option(
        False,
        "one vocabulary for both sides, one matrix for embeddings and output",
        group="the text",
    )
    vocabulary: int = 8000
    optimiser: str = with_default(
        TrainingSettings, "optimiser", "muon", default_help="muon; with --init adamw"
    )
    learning_rate: float | None = with_default(  # type: ignore[assignment]
        TrainingSettings,
        "learning_rate",
        None,
        default_help="8e-3; with adamw and sgd 2e-3; with --init 0.3 of it",
    )
    momentum: float = 0.95


class TransformerKind(PairKind):
    """A Transformer on pairs of texts."""

    name = "transformer"
    description = f"""\
Train a Transformer, which reads one sequence and writes another, on pairs of texts: a file of
lines source<TAB>target, whose last tenth is held out; or a built-in set:
{BUILT_IN}
It is the model of "Attention is all you need" (2017); train seq2seq trains a recurrent one."""
    examples = """\
  minillm train transformer numbers-en-fr --out runs/numbers --minutes 3
  minillm train transformer train.tsv --validation val.tsv --unit bpe --joint --pretokenised \\
      --vocabulary 6000 --feed-forward 256 --dropout 0.3 --out runs/multi30k --minutes 60

then: minillm translate DIR, minillm eval DIR, minillm plot attention DIR "a text\""""
    model = Transformer
    config = TransformerConfig
    settings = TransformerSettings
    reading = staticmethod(read_transformer)

    def sizes(self, settings: TransformerSettings) -> dict[str, object]:  # type: ignore[override]
        """Whether the embeddings are shared."""
        return {"shared": settings.joint}

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The sizes of a run of transformer, and AdamW: LoRA's matrices are thin."""
        joint = getattr(initial.model.config, "shared", False)
        return super().init_defaults(initial, given) | {"joint": joint, "optimiser": "adamw"}

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """The settings with a learning rate, and with a unit where too many words are unknown."""
        rate = MUON_RATE if settings.optimiser == "muon" else ADAM_RATE
        return super().complete(with_rate(settings, job, rate), given, job)

    def new_vocabularies(self, pairs: Split[Pair], job: Job) -> tuple[Vocabulary, Vocabulary]:
        """The vocabularies of source and target, which may be the same."""
        if not job.settings.joint or job.initial:
            return super().new_vocabularies(pairs, job)
        joint = vocabulary_of(pairs, job, 0, 1)
        return joint, joint


TARGETS_COUNT = 5  # times, among the words of a vocabulary: a word of a target will be written


@dataclass(frozen=True)
class SummariserSettings(PairSettings):
    """The settings of a summariser."""

    unit: str | None = of_text(
        "word",
        "tokens: word, in lower case, with the words of each source added; or bpe",
        choices=("word", "bpe"),
    )
    vocabulary: int = 10_000
    batch: int = 32
    layers: int = size(
        PointerGeneratorConfig, "layers", "layers of the encoder, and of the decoder", most=64
    )
    cell: str = size(PointerGeneratorConfig, "cell", choices=tuple(CELLS))
    hidden: int = size(
        PointerGeneratorConfig,
        "hidden",
        "width of the decoder, and of each direction of the encoder",
    )
    embedding: int = size(PointerGeneratorConfig, "embedding")
    coverage: float = size(PointerGeneratorConfig, "coverage")
    dropout: float = size(PointerGeneratorConfig, "dropout")
    learning_rate: float = 2e-3


class SummariserKind(PairKind):
    """A pointer-generator on pairs of a text and its summary.

    One vocabulary serves both sides, and each source adds its own words to it.
    """

    name = "summariser"
    description = """\
Train a summariser on pairs of a text and its summary: a file of lines text<TAB>summary, or of
{"source": "...", "target": "..."} in a .jsonl file ("target" may be a list); its last tenth is held
out.  The model writes words of its vocabulary, or copies words of the text: also unknown names."""
    examples = """\
  minillm train summariser emails.tsv --out runs/emails
  minillm train summariser train.tsv --validation val.tsv --out runs/papers --minutes 30

then: minillm summarise DIR report.txt, minillm eval DIR, minillm plot attention DIR "a text\""""
    model = PointerGenerator
    config = PointerGeneratorConfig
    settings = SummariserSettings
    reading = staticmethod(read_pointer_generator)
    vocabularies: ClassVar[dict[str, tuple[str, str]]] = {
        "source": ("vocabulary.json", "vocabulary"),
        "target": ("vocabulary.json", "vocabulary"),
    }

    def vocabulary_sizes(self, source: int, target: int) -> dict[str, object]:
        """The size of the one vocabulary."""
        return {"vocabulary": target}

    def task(self, run: Run) -> str:
        """The task of its pairs: summaries."""
        return "summary"

    def new_vocabularies(self, pairs: Split[Pair], job: Job) -> tuple[Vocabulary, Vocabulary]:
        """One vocabulary for both sides, which is the same object twice.

        The words of a target count several times, because a word of a source need not be written,
        and can be copied.
        """
        settings = job.settings
        if job.initial:
            return super().new_vocabularies(pairs, job)
        if settings.unit == "bpe":
            joint = vocabulary_of(pairs, job, 0, 1)
            return joint, joint
        texts = (
            text
            for source, target in pairs["training"]
            for text in (source, *[target] * TARGETS_COUNT)
        )
        words = vocabulary_for(
            job,
            settings.unit,
            lambda: OpenWords.from_texts(texts, settings.minimum_count, settings.vocabulary),
        )
        return words, words

    def hypotheses(self, run: Run, texts: Sequence[str], **options: Any) -> list[list[Translation]]:
        """See :meth:`minillm.runs.run.Run.hypotheses`; by default, it searches for summaries."""
        return super().hypotheses(run, texts, **search_options(SummarySearch()) | options)

    def look(self, run: Run, text: str, target: str | None = None) -> Inside:
        """See :meth:`minillm.runs.run.Run.look`; the words of the source are copied from it."""
        inside = super().look(run, text, target)
        return replace(inside, source=run.source.split(text)[: len(inside.source)])
