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
from minillm.data.pairs import Pair, PairData, read_pairs
from minillm.decoding import Translation, Translator
from minillm.decoding.summaries import Length
from minillm.errors import InputError
from minillm.look.inside import MOST, Inside
from minillm.look.measurements import Translated
from minillm.metrics import frequency_loss
from minillm.option import option
from minillm.runs.kind import Data, Given, Job, Kind, Parts, Results
from minillm.runs.kinds._look import inside_of
from minillm.runs.kinds._summaries import extract_results, summary_results
from minillm.runs.kinds._vocabulary import vocabulary_for
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
)
from minillm.text import UNITS, Vocabulary, build_vocabulary
from minillm.training.minibatches import MinibatchTask, fingerprint, mean_loss

EXAMPLES = 3  # shown after a training
SAMPLED = 1000  # held-out pairs, among whose sources they are
BATCH = 256  # pairs that are measured together
TOGETHER = 256  # texts that are summarised together: texts of similar length share a batch
MOST_UNKNOWN = 0.2  # of the words of a side: above it, the model mostly learns the unknown word
MOST_CUT = 0.05  # of the pairs, by their characters: above it, the unit is the byte pair
FEW_BYTE_PAIRS = 2000  # for rare words, which more byte pairs would keep whole
BUILT_IN = """\
  cmudict        English words to phonemes (cmudict-stress: with the vowels' stress)
  numbers-en-fr  numbers in words, English to French; and between other languages
  docstrings     the source of a Python function to the first sentence of its docstring"""


@dataclass(frozen=True)
class PairSettings(VocabularySettings, TrainingSettings, LoRASettings):
    """Settings of every model of pairs of texts."""

    data: str | None = of_data(
        "a file of pairs, or cmudict, cmudict-stress, numbers-en-fr, docstrings"
    )
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

    def complete(
        self, settings: PairSettings, given: Mapping[str, object], job: Job
    ) -> PairSettings:
        """The settings with a unit of their own if too many held-out words are unknown.

        The unit is the character, or the byte pair if too many texts have more characters than are
        read.
        """
        if settings.unit or job.data.get("init") or job.data.get("tokenizer"):
            return settings
        pairs = open_data(job.data)
        if "word" not in registry.set_of_pairs(job.data["data"]).units:
            return settings
        source, target = self.new_vocabularies(pairs, job)
        columns, _ = encode_pairs(pairs.pairs("validation"), source, target, settings)
        shares = unknown_shares(columns, source, target)
        if max(shares) <= MOST_UNKNOWN:
            return settings
        most = (settings.max_source, settings.max_target)
        cut = [any(map(gt, map(len, pair), most)) for pair in pairs.pairs("training")]
        changed = replace(settings, unit="character")
        if np.mean(cut) > MOST_CUT:
            size = settings.vocabulary if "vocabulary" in given else FEW_BYTE_PAIRS
            changed = replace(settings, unit="bpe", vocabulary=size)
        job.report(
            f"{describe_unknown(shares)}: too many, so the unit is {changed.unit}; "
            "unit sets another one"
        )
        return changed

    def prepare(self, job: Job, rng: np.random.Generator) -> Parts:
        """Vocabularies, and minibatches for training and validation."""
        settings, data, renamed = job.settings, job.data, self.sizes(job.settings)
        one = self.vocabulary_sizes(1, 1)
        config_from(settings, self.config, **one, **renamed)  # before the data are read
        pairs = open_data(data)
        source, target = self.new_vocabularies(pairs, job)
        columns, notes = [], []
        for part in ("training", "validation"):
            encoded, cut = encode_pairs(pairs.pairs(part), source, target, settings)
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
        task = MinibatchTask(
            model,
            Minibatches(training, settings.batch, settings.seed),
            Minibatches(validation, settings.batch, settings.seed),
            count_tokens,
        )
        return Parts(
            model=model,
            task=task,
            unit="token",
            vocabularies={"source": source, "target": target},
            notes=notes,
            item="pair",
            baseline=frequency_loss(training[1].ids, validation[1].ids),
            facts=PairFacts(longest_target=int(training[1].lengths.max())),
        )

    def new_vocabularies(self, pairs: PairData, job: Job) -> tuple[Vocabulary, Vocabulary]:
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

        def refusal(row: int) -> InputError | None:
            try:
                translator.encode([texts[row]], [places[row]])
            except InputError as error:
                return error
            return None

        cut = 0
        for at in range(0, len(texts), TOGETHER):
            refused = {row: refusal(row) for row in range(len(texts))[at : at + TOGETHER]}
            read = [texts[row] for row, error in refused.items() if error is None]
            outputs = (best[0] for best in run.hypotheses(read, **options))
            for error in refused.values():
                if error is not None:
                    yield error
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
        """The task of the pairs, which determines the measures."""
        return registry.set_of_pairs(run.data["data"]).task

    def held_out(self, run: Run, given: Given, part: str | None) -> tuple[str, Sequence[Pair]]:
        """The given pairs, or those of a part of the run's data, and their name."""
        if given.title:
            return given.title, [pair for file in given.files for pair in read_pairs(file)]
        part = part or "validation"
        return f"{run.data['data']}, {part}", list(open_data(run.data).pairs(part))

    def sample(self, run: Run) -> Iterator[str]:
        """Yield outputs for a few held-out sources."""
        held_out = self.held_out(run, Given(), None)[1][:SAMPLED]
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
            **(summary_results(outputs, sources) if task == "summary" else {}),
            **(extract_results(sources, known) if task == "summary" and options.beside else {}),
        }


def by_source(pairs: Iterable[Pair]) -> dict[str, list[str]]:
    """The targets of each source, in their order: its references."""
    references: dict[str, list[str]] = {}
    for source, target in pairs:
        references.setdefault(source, []).append(target)
    return references


def not_measured(task: str) -> str:
    """A line about measures whose packages are not installed, or nothing."""
    missing = {} if task == "pronunciation" else metrics.missing_packages()
    if not missing:
        return ""
    packages = " and ".join(dict.fromkeys(missing.values()))
    return f'not measured: {", ".join(missing)}: install {packages}, or the extra "metrics"'


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


def open_data(data: Data) -> PairData:
    """The pairs of a file or of a built-in set."""
    if not data.get("data"):
        raise InputError("DATA: expected a file or a built-in set, found none")
    return registry.open_pairs(data["data"], data.get("validation"))


def vocabulary_of(pairs: PairData, job: Job, *sides: int) -> Vocabulary:
    """The vocabulary of the sources (side 0), of the targets (side 1), or of both."""
    settings = job.settings
    unit = settings.unit or registry.set_of_pairs(job.data["data"]).units[sides[0]]
    training, held_out = (
        (pair[side] for pair in pairs.pairs(part) for side in sides)
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
    most = {"sources": settings.max_source, "targets": settings.max_target}
    counts = dict(zip(most, cut, strict=True))
    sides = [side for side in most if counts[side]]
    return "".join(f", {counts[s]:,} {s} are cut to {most[s]:,} tokens" for s in sides)


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
