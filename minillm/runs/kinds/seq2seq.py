"""``seq2seq``: an encoder-decoder, from one text to another."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from minillm.errors import InputError
from minillm.runs.kind import Evaluation, Kind, Parts, Results
from minillm.runs.settings import (
    Facts,
    LoRASettings,
    RecurrenceSettings,
    TrainingSettings,
    VocabularySettings,
    option,
    with_default,
)
from minillm.runs.vocabulary import vocabulary_for

if TYPE_CHECKING:
    import numpy as np

    from minillm.data import Sequences
    from minillm.data.pairs import Pair, PairData
    from minillm.decoding import Translation, Translator
    from minillm.runs.folder import RunFolder
    from minillm.runs.run import Run
    from minillm.text import Vocabulary

UNITS = ("character", "word", "token", "bpe", "wordpiece")
EXAMPLES = 3  # shown after a training


@dataclass(frozen=True)
class PairSettings(VocabularySettings, TrainingSettings, LoRASettings):
    """The settings of every model of pairs of texts."""

    data: str | None = option(
        None,
        "a file of pairs, or one of cmudict, cmudict-stress, numbers-en-fr (or any two "
        "languages), docstrings",
        "DATA",
        positional=True,
        data=True,
    )
    validation: str | None = option(
        None,
        "pairs to measure on (default: DATA's last tenth)",
        "FILE",
        group="the text",
        data=True,
        default_help="",
    )
    unit: str | None = option(
        None,
        "what both sides are split into; tokens are words that spaces separate already, wordpieces "
        "parts of lower-case words",
        choices=UNITS,
        group="the text",
        default_help="word, or what suits a built-in set",
    )
    source_unit: str | None = option(
        None,
        "what the source is split into",
        choices=UNITS,
        group="the text",
        default_help="--tokenizer or --unit",
    )
    target_unit: str | None = option(
        None,
        "what the target is split into",
        choices=UNITS,
        group="the text",
        default_help="--tokenizer or --unit",
    )
    max_length: int = option(
        100,
        "leave out pairs in which a side has more tokens",
        "N",
        least=1,
        most=10_000,
        group="the text",
    )
    pretokenised: bool = option(
        False,
        "spaces separate the words of the texts already: BLEU counts them as they stand",
        group="the text",
    )
    label_smoothing: float = option(
        0.1,
        "probability that is spread over all tokens in the targets of training",
        "E",
        least=0,
        below=1,
    )
    batch: int = with_default(TrainingSettings, "batch", 128)


@dataclass(frozen=True)
class Settings(PairSettings, RecurrenceSettings):
    """The settings of a recurrent encoder-decoder."""

    attention: str = option(
        "additive",
        "how the decoder attends to the source",
        choices=("none", "dot", "general", "additive"),
    )
    input_feeding: bool = option(
        False, "the attentional state of a step is an input of the next (slower)"
    )
    layers: int = with_default(
        RecurrenceSettings, "layers", 1, help="layers of the encoder, and of the decoder"
    )
    hidden: int = with_default(
        RecurrenceSettings,
        "hidden",
        256,
        help="width of the decoder, and of each direction of the encoder",
    )
    embedding: int = option(256, "width of a token's embedding", "D", least=1, most=65536)
    forward_only: bool = option(False, "an encoder that reads in one direction, not in both")
    scheduled_sampling: float = option(
        0.0,
        "fraction of the decoder's inputs in training that are its own predictions",
        "P",
        least=0,
        most=1,
    )
    learning_rate: float = with_default(TrainingSettings, "learning_rate", 2e-3)


@dataclass(frozen=True, kw_only=True)
class PairFacts(Facts):
    """What is stored about the pairs."""

    longest_target: int = option(
        MISSING, "tokens of the longest target, with EOS", least=1, most=10_001
    )


class Seq2SeqKind(Kind):
    """A recurrent encoder-decoder on pairs of texts."""

    name = "seq2seq"
    year = 2014
    help = "an encoder-decoder: translation, pronunciation, summaries"
    description = """\
Train an encoder-decoder, which reads one sequence and writes another, on pairs of texts:
a file of lines source<TAB>target, of which the last tenth is held out; or a built-in set:
  cmudict        English words to phonemes (cmudict-stress: with the vowels' stress)
  numbers-en-fr  numbers in words, English to French; and between other languages
  docstrings     the body of a docstring to its summary line
With --attention none, the decoder sees the source as one vector, as in 2014; with the other
kinds of attention it sees all positions of the source at each step, as since 2015."""
    examples = """\
  minillm train seq2seq numbers-en-fr --out runs/numbers --minutes 3
  minillm train seq2seq cmudict --out runs/cmudict --minutes 20
  minillm train seq2seq cmudict --out runs/vector --minutes 20 --attention none
  minillm train seq2seq pairs.tsv --out runs/pairs --cell gru --layers 2
  minillm train seq2seq train.tsv --validation val.tsv --unit token --out runs/multi30k
        words and punctuation that spaces separate already

then: minillm translate DIR, minillm eval DIR, minillm plot attention DIR "a source text\""""
    settings: ClassVar[type] = Settings
    facts = PairFacts
    vocabularies = {  # noqa: RUF012
        "source": ("vocabulary.source.json", "source_vocabulary"),
        "target": ("vocabulary.target.json", "target_vocabulary"),
    }

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig

        return EncoderDecoder, EncoderDecoderConfig

    def prepare(self, settings: Any, data: dict[str, Any], rng: "np.random.Generator") -> Parts:
        """Vocabularies, and minibatches for training and validation."""
        from minillm.data import Minibatches
        from minillm.metrics import frequency_loss
        from minillm.training.minibatches import MinibatchTask, fingerprint

        pairs = open_data(data)
        source, target = self.new_vocabularies(pairs, data, settings)
        notes: list[str] = []
        training, validation = (
            encode_part(pairs, part, source, target, settings.max_length, data["data"], notes)
            for part in ("training", "validation")
        )
        found = fingerprint(training)
        if data.setdefault("sha256", found) != found:
            raise InputError(f"{data['data']}: the data have changed since the run was started")
        data["longest_target"] = int(training[1].lengths.max())

        Model, _ = self.types()
        sizes = {"source_vocabulary": len(source), "target_vocabulary": len(target)}
        config = self.new_config(**sizes, **self.sizes(settings))
        model = Model(config, rng)
        task = MinibatchTask(
            model,
            Minibatches(training, settings.batch, settings.seed),
            Minibatches(validation, settings.batch, settings.seed),
            count_tokens,
        )
        vocabularies = {"source": source, "target": target}
        baseline = frequency_loss(training[1].ids, validation[1].ids)
        return Parts(model, task, "token", vocabularies, notes, "pair", baseline)

    def new_vocabularies(
        self, pairs: "PairData", data: dict[str, Any], settings: Any
    ) -> "tuple[Vocabulary, Vocabulary]":
        """Those of source and target; those of --init, or its one for the source."""
        from minillm.runs.initial import initial_run

        initial = initial_run(data)
        if initial and initial.kind is self:
            return initial.source, initial.target
        data = {name: value for name, value in data.items() if name != "init"}
        target = vocabulary_of(pairs, data, settings, 1)
        source = initial.tokenizer if initial else vocabulary_of(pairs, data, settings, 0)
        return source, target

    def begin_from(self, run: "Run", given: Mapping[str, Any]) -> dict[str, Any]:
        """The sizes of a run of the same kind; or of a language model, which becomes the encoder.

        InputError for a run of another kind, or where a tokenizer is asked for beside its own.
        """
        from minillm.runs.initial import sizes_of

        config = run.model.config
        if run.kind.name != "lm" or self.name != "seq2seq":
            own = {"forward_only": not getattr(config, "bidirectional", True)}
            own = {"joint": config.shared} if hasattr(config, "shared") else own
            return super().begin_from(run, given) | own
        if not config.embedding:
            raise InputError(f"--init {run.path}: expected an embedding, found one-hot input")
        sizes = sizes_of(run, self.settings)
        names = ("hidden", "layers", "cell", "embedding")
        return {name: sizes[name] for name in names} | {"forward_only": True}

    def tokenizer_options(self, run: "Run") -> tuple[str, ...]:
        """Those of both sides; of a language model, which is an encoder, that of the source."""
        if run.kind is not self:
            return ("source_unit",)
        return (*super().tokenizer_options(run), "source_unit", "target_unit")

    def names_from(self, run: "Run", data: Mapping[str, Any]) -> dict[str, str]:
        """The same ones; of a language model those of the embedding and of its layers."""
        if run.kind is self:
            return super().names_from(run, data)
        layers = {n: f"encoder.{n[7:]}" for n in run.model.params if n.startswith("layers.")}
        return layers | {"embedding.E": "source.E"}

    def sizes(self, settings: Any) -> dict[str, Any]:
        """The fields of the model's config that the settings say."""
        names = [entry.name for entry in fields(self.types()[1]) if hasattr(settings, entry.name)]
        own = {name: getattr(settings, name) for name in names}
        return own | {"bidirectional": not settings.forward_only}

    def hypotheses(
        self, run: "Run", texts: Sequence[str], **options: Any
    ) -> "list[list[Translation]]":
        """See :meth:`minillm.runs.run.Run.hypotheses`."""
        return translator_of(run).translate(texts, **options)

    def sample(self, folder: "RunFolder") -> Iterator[str]:
        """Outputs of the model with the best weights for a few held-out sources."""
        from textwrap import shorten

        from minillm.runs.run import load

        run = load(folder.path)
        held_out = dict(islice(open_data(run.data).pairs("validation"), EXAMPLES))
        longest = run.settings.max_length
        sources = [text for text in held_out if len(run.source.encode(text)) <= longest]
        yield "held-out examples: the source, what the model writes, what is right\n"
        for source, output in zip(sources, run.translate(sources), strict=True):
            texts = (shorten(text, 100) for text in (source, output, held_out[source]))
            yield "  {}\n    -> {}\n    == {}\n".format(*texts)

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Loss, exact outputs, and the measures that are usual for the task."""
        from minillm import metrics
        from minillm.data import Minibatches
        from minillm.data.pairs import read_pairs
        from minillm.training.minibatches import mean_loss

        longest = run.settings.max_length
        if asked.files:
            name = ", ".join(asked.files)
            pairs = [pair for file in asked.files for pair in read_pairs(file)]
        else:
            part = asked.part or "validation"
            name, pairs = f"{run.data['data']}, {part}", list(open_data(run.data).pairs(part))
        columns, left_out = encode_pairs(pairs, run.source, run.target, longest)
        if left_out and asked.files:
            raise InputError(
                f"{name}: expected at most {longest} tokens on a side, as the model was trained, "
                f"found {left_out} pairs with more"
            )
        nats = mean_loss(run.model, Minibatches(columns, 256, 0), count_tokens)
        references: dict[str, list[str]] = {}
        for source, target in pairs:
            references.setdefault(source, []).append(target)
        # As in training, what is too long is left out.
        sources = [text for text in references if len(run.source.encode(text)) <= longest]
        start = time.perf_counter()
        outputs = run.translate(sources, asked.beam, asked.length_exponent)
        seconds = time.perf_counter() - start
        results: Results = {
            "data": name,
            "sources": len(sources),
            "pairs_left_out": left_out,
            "beam": asked.beam,
            "sources_per_second": len(sources) / seconds,
            "nats_per_token": nats,
            "perplexity": metrics.perplexity(nats),
        }
        known = [references[source] for source in sources]
        return results | output_results(run, outputs, known)


def output_results(run: "Run", outputs: list[str], known: list[list[str]]) -> Results:
    """The measures that are usual for the task, of outputs against their references."""
    from minillm import metrics
    from minillm.data.registry import task_of

    exact = metrics.exact_match(outputs, known)
    split = run.target.split
    errors = metrics.token_error_rate(
        [split(text) for text in outputs], [[split(text) for text in texts] for texts in known]
    )
    if task_of(run.data["data"]) == "pronunciation":
        return {"word_error_rate": 1 - exact, "phoneme_error_rate": errors}
    results: Results = {"exact_match": exact, "token_error_rate": errors}
    tokenised = run.target.pretokenised or run.settings.pretokenised
    results["bleu"] = metrics.bleu(outputs, known, tokenised=tokenised)
    results["chrf"] = metrics.chrf(outputs, known)
    return results | metrics.rouge(outputs, known)


def translator_of(run: "Run") -> "Translator":
    """The run's model with its vocabularies and limits."""
    from minillm.decoding import Translator

    longest, limit = run.settings.max_length, run.data["longest_target"]
    return Translator(run.model, run.source, run.target, longest, limit)


def open_data(data: dict[str, Any]) -> "PairData":
    """The pairs of a file or of a built-in set."""
    from minillm.data import registry

    if not data.get("data"):
        raise InputError("DATA: expected a file or a built-in set (see --help), found none")
    return registry.open_pairs(data["data"], data.get("validation"))


def vocabulary_of(
    pairs: "PairData", data: dict[str, Any], settings: PairSettings, *sides: int
) -> "Vocabulary":
    """The vocabulary of the sources (side 0), of the targets (side 1), or of both."""
    from minillm.data.registry import default_units
    from minillm.text import build_vocabulary

    own = getattr(settings, ("source_unit", "target_unit")[sides[0]])
    unit = own or settings.unit or default_units(data["data"])[sides[0]]
    training, held_out = (
        (pair[side] for pair in pairs.pairs(part) for side in sides)
        for part in ("training", "validation")
    )
    return vocabulary_for(
        settings,
        {} if own else data,  # a unit of its own counts more than --tokenizer
        unit,
        lambda: build_vocabulary(
            training, unit, settings.minimum_count, settings.vocabulary, held_out=held_out
        ),
    )


def encode_part(
    pairs: "PairData",
    part: str,
    source: "Vocabulary",
    target: "Vocabulary",
    longest: int,
    name: str,
    notes: list[str],
) -> "tuple[Sequences, Sequences]":
    """The ids of the pairs for "training" or "validation"; ``notes`` gets a line on how many."""
    columns, left_out = encode_pairs(pairs.pairs(part), source, target, longest)
    count = len(columns[0])
    if left_out:
        notes.append(f"{left_out:,} {part} pairs are longer than {longest} tokens")
    if count == 0:
        raise InputError(f"{name}: no {part} pair is short enough for --max-length")
    notes.append(f"{count:,} {part} pairs")
    return columns


def encode_pairs(
    pairs: "Iterable[Pair]", source: "Vocabulary", target: "Vocabulary", longest: int
) -> "tuple[tuple[Sequences, Sequences], int]":
    """The pairs as ids, each target with EOS after it, and how many were left out.

    Left out are those with a side of more than ``longest`` tokens.
    """
    from minillm.data import Sequences

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


def count_tokens(batch: tuple[Any, ...]) -> int:
    """The target tokens of a batch, EOS included: what its loss is the mean over."""
    return int(batch[3].sum())
