"""The shared parts of models of running text: training, adapting, writing and measuring.

After training on general text and then, with ``--init``, on the text of a domain, a model predicts
the domain better and the general text worse: the report has the perplexity on the held-out parts of
both texts, before and after, and ``--replay SHARE`` mixes general text into the training.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import copy_file
from minillm.data.registry import absolute
from minillm.data.windows import Ids
from minillm.decoding import Sampling, Text, write
from minillm.decoding.recurrent import one_hot
from minillm.errors import InputError
from minillm.formats.format import Contents
from minillm.layers.recurrent import CELLS
from minillm.look.measurements import read_mamba, read_recurrent, read_windows
from minillm.metrics import frequency_loss, perplexity
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.option import make, option
from minillm.runs.config import save_run
from minillm.runs.folder import RunFolder
from minillm.runs.kind import (
    FINE_TUNING_RATE_FACTOR,
    Data,
    Given,
    Job,
    Kind,
    Parts,
    Results,
    Stored,
)
from minillm.runs.kinds.beside import (
    MixtureReader,
    best_ngram,
    inside_beside,
    results_beside,
    with_sources,
)
from minillm.runs.kinds.looking import look_by
from minillm.runs.kinds.texts import (
    TextOfRun,
    evaluation_ids,
    figures_of,
    open_text,
    results_on,
)
from minillm.runs.load import load
from minillm.runs.run import Run
from minillm.runs.settings import (
    AdaptationSettings,
    Evaluation,
    TextEvaluation,
    TextSettings,
    TrainingSettings,
    config_from,
    size,
    with_default,
)
from minillm.text import Vocabulary, banned_ids, opening_id, unit_name
from minillm.training import Summary
from minillm.training.dynamic_evaluation import Adapted, adapt
from minillm.training.language_model import (
    LanguageModelTask,
    evaluate,
    stretches,
    token_losses,
)

LENGTH = 500  # tokens to write by default
# Tokens of a sample.
SHOWN = {"character": 240, "word": 60, "bpe": 100, "wordpiece": 100}


def write_text(
    run: Run, prompt: str, length: int, sampling: Sampling, stop: Sequence[str], model: Any = None
) -> Iterator[str]:
    """The prompt and its continuation, by the run's model, or by another form of it."""
    documents = bool(run.data.get("documents"))
    return written(model or run.model, run.tokenizer, prompt, length, sampling, stop, documents)


def save_imported(
    kind: Kind,
    contents: Contents,
    file: str,
    folder: RunFolder,
    settings: Any = None,
    facts: Data | None = None,
) -> str:
    """Save a model of another program as a run of a kind; return a line about it.

    A file with quantised weights is copied as it is.
    """
    model, tokenizer, chat = contents.model, contents.tokenizer, contents.chat
    if chat is not None:
        make(Sampling, chat.sampling, f"{file}: its values for sampling: ")
    if settings is None:
        settings = kind.settings(unit=tokenizer.unit)
    if facts is None:
        facts = {"files": [], "documents": tokenizer.eos is not None}
    stored = Stored(kind, model.config, settings, {"imported": absolute(file), **facts})
    quantised = any(not isinstance(weight, np.ndarray) for weight in model.params.values())
    weights = partial(copy_file, file) if quantised else model.params
    save_run(folder, stored, weights, {"tokenizer": tokenizer}, chat=chat)
    sizes = getattr(model.config, "encoder", model.config)
    count = sum(array.size for array in model.params.values())
    return f"{count:,} weights in {sizes.layers} layers, {len(tokenizer):,} tokens"


def known_config(job: Job) -> Any:
    """The config of the run to resume, or of the run of ``--init``; None for a fresh model."""
    if job.stored is not None:
        return job.stored.config
    return None if job.initial is None else job.initial.model.config


class WritingKind(Kind):
    """The abilities of a language model."""

    takes: ClassVar[tuple[str, ...]] = ("text",)
    evaluation: ClassVar[type[Evaluation]] = TextEvaluation

    write = staticmethod(write_text)
    look_beside = staticmethod(inside_beside)  # the best n-gram's predictions of a text
    with_sources = staticmethod(with_sources)  # and passages of the training text

    def evaluate(self, run: Run, given: Given, options: TextEvaluation) -> Results:
        """Nats and bits per token, per byte and per character, and perplexity."""
        name, ids = evaluation_ids(run, given, options.part)
        losses_on = partial(self.losses_on, run)
        if options.mix:
            losses = losses_on(ids)
            nats, tokens = float(losses.mean()), len(losses)
        else:
            nats, tokens = self.nats_on(run, ids)
        results = results_on(name, run.tokenizer, ids, nats, tokens)
        if options.beside:
            results |= results_beside(run, ids)
        if options.adapt:
            losses_on = partial(self.adapted_losses_on, run)
            losses = losses_on(ids)
            nats, tokens = float(losses.mean()), len(losses)
            results |= figures_of("adapted", run.tokenizer, ids, nats, tokens)
        if options.mix:
            reader = MixtureReader(run)
            if given.title:
                reader.start(losses_on)
            results |= reader.results(ids, losses)
        return results

    def adapted(self, run: Run, ids: Ids) -> Adapted:
        """A copy of the model that has learned a text: see :func:`adapt`."""
        if any(not isinstance(weight, np.ndarray) for weight in run.model.params.values()):
            raise InputError(
                "adapt: expected weights in floats, found quantised ones: see minillm quantise"
            )
        return adapt(run.model, ids)

    def adapted_losses_on(self, run: Run, ids: Ids) -> NDArray[np.float64]:
        """The loss of each token after the first, in nats, before it is learned."""
        return self.adapted(run, ids).losses

    def nats_on(self, run: Run, ids: Ids) -> tuple[float, int]:
        """The mean loss on a text, in nats per token, and the number of tokens."""
        return evaluate(run.model, ids[:], run.settings.batch, run.settings.window)

    def losses_on(self, run: Run, ids: Ids) -> NDArray[np.float64]:
        """The loss of each token after the first, in nats; a few at the end may be missing."""
        return token_losses(run.model, ids[:], run.settings.batch, run.settings.window)


class TextKind(WritingKind):
    """A language model that is trained on windows of a text.

    Its settings have ``unit``, ``batch`` and ``window``.
    """

    def prepare(self, job: Job, rng: np.random.Generator) -> Parts:
        """Hold out the last tenth of the text; the rest determines the vocabulary."""
        settings, known = job.settings, known_config(job)
        config_from(settings, self.config, known, vocabulary=2)  # before the data are read
        text = open_text(job)
        rows = len(text.tokenizer) if known is None else None  # or those that are known
        model = self.model(config_from(settings, self.config, known, vocabulary=rows), rng)
        task = self.task(settings, model, text)
        return Parts(
            model=model,
            task=task,
            unit=unit_name(text.tokenizer),
            vocabularies={"tokenizer": text.tokenizer},
            baseline=frequency_loss(text.training[:COUNTED], task.validation_ids),
            facts=text.facts,
        )

    def task(self, settings: Any, model: Any, text: TextOfRun) -> Any:
        """The training on windows that read on, each with the state of the one before."""
        batch, window = settings.batch, settings.window
        return LanguageModelTask(model, text.training[:], text.validation[:], batch, window)

    def closing(self, job: Job, parts: Parts, summary: Summary) -> Iterator[str]:
        """Yield the loss of the best n-gram; if the model was adapted, its gain and loss."""
        if not summary.interrupted:
            task: Any = parts.task
            tokenizer = parts.vocabularies["tokenizer"]
            _, best = best_ngram(task.windows.ids, task.validation_ids, tokenizer)
            job.folder.append_metrics(
                {"step": summary.step, "ngram_loss": best.nats, "ngram_order": best.order}
            )
            yield best.describe(parts.unit)
        if job.data.get("init"):
            yield from gained_and_forgotten(job)

    def sample(self, run: Run) -> Iterator[str]:
        """Some text from the model with the best weights."""
        length = SHOWN[run.tokenizer.unit]
        return chain(["sample:\n\n"], run.write(length=length, seed=run.settings.seed), ["\n"])


COUNTED = 10_000_000  # tokens of the training text whose frequencies are a baseline


MEASURED = 50_000  # the most tokens of each held-out part


def with_rate(settings: Any, job: Job, rate: float) -> Any:
    """The settings with a learning rate, by default ``rate``, or less with ``--init``."""
    if settings.learning_rate is not None:
        return settings
    gently = job.data.get("init") and not settings.lora_rank
    return replace(settings, learning_rate=(FINE_TUNING_RATE_FACTOR if gently else 1) * rate)


def gained_and_forgotten(job: Job) -> Iterator[str]:
    """Yield a line for each of the two texts: the perplexity before and after."""
    before, after = load(job.data["init"]), load(job.folder.path)
    kind: Any = after.kind
    for word, owner in (("gained", after), ("forgotten", before)):
        try:
            name, ids = evaluation_ids(owner)
        except InputError as error:
            yield f"{word}: not measured: {error}"
            continue
        some = stretches(ids, MEASURED)
        was, now = (perplexity(kind.nats_on(run, some)[0]) for run in (before, after))
        if word == "forgotten" and now < was:
            word = "not forgotten"
        yield f"{word}: perplexity on {name}: {was:.4g} before, {now:.4g} after"


def written(
    model: Any,
    tokenizer: Vocabulary,
    prompt: str,
    length: int,
    sampling: Sampling,
    stop: Sequence[str] = (),
    documents: bool = False,
) -> Iterator[str]:
    """The prompt and its continuation of ``length`` tokens, piece by piece.

    Without a prompt, the model starts a new line, if its vocabulary has line ends.  A model that
    was trained on ``documents`` starts a document, and ends it with EOS.  BOS precedes the prompt
    if the vocabulary says so, and is not written.  Nor is the unknown word.
    """
    ids = tokenizer.encode_known(prompt, "prompt")
    if prompt and not len(ids):
        raise InputError(f"prompt: expected one token or more, found none in {prompt!r}")
    ends = [] if tokenizer.eos is None else [tokenizer.eos]
    for text in stop:
        token = tokenizer.encode_known(text, "stop")
        if len(token) != 1:
            raise InputError(f"stop: expected a single {unit_name(tokenizer)}, found {text!r}")
        ends.append(int(token[0]))
    banned = banned_ids(tokenizer, documents, model.config.vocabulary)
    opening = np.array([opening_id(tokenizer, documents)])
    read = (tokenizer.opened(ids) if len(ids) else opening).tolist()
    return tokenizer.stream(
        chain(ids, write(model, Text(read, length, sampling, frozenset(ends), banned)))
    )


@dataclass(frozen=True)
class NeuralNGramSettings(TextSettings, TrainingSettings):
    """The settings of a neural n-gram model."""

    order: int = size(
        NeuralNGramConfig,
        "order",
        "number of tokens in an n-gram: the model sees N - 1",
        "N",
        least=2,
        most=1000,
    )
    embedding: int = size(NeuralNGramConfig, "embedding", "width of a token's embedding")
    hidden: int = size(NeuralNGramConfig, "hidden", "width of the hidden layer")
    window: int = option(64, "tokens of each row of a batch", "T", least=1, most=65536)


class NeuralNGramKind(TextKind):
    """The embeddings of the last tokens, and one hidden layer that predicts the next token."""

    name = "neural-ngram"
    description = """\
Train the neural n-gram model of Bengio et al. (2003): it sees as many tokens as an n-gram model,
but learns their similarities. The last tenth of the text is held out."""
    examples = """\
  minillm train neural-ngram --out runs/bengio --minutes 2
        on the Python language reference, which ships with every CPython
  minillm train neural-ngram text.txt --out runs/words --unit word --order 5 --embedding 60

then: minillm generate DIR, minillm eval DIR"""
    settings = NeuralNGramSettings
    model = NeuralNGram
    config = NeuralNGramConfig
    look = look_by(read_windows)


LM_RATE = 6e-3  # at which an LSTM of 512 learns best; a wide rnn or gru diverges


@dataclass(frozen=True)
class LanguageModelSettings(TextSettings, TrainingSettings, AdaptationSettings):
    """The settings of a recurrent language model."""

    learning_rate: float | None = with_default(  # type: ignore[assignment]
        TrainingSettings,
        "learning_rate",
        None,
        default_help=f"{LM_RATE}; of rnn and gru at most 0.8 / hidden",
    )
    cell: str = size(LanguageModelConfig, "cell", choices=tuple(CELLS))
    layers: int = size(LanguageModelConfig, "layers", most=64)
    hidden: int = size(LanguageModelConfig, "hidden")
    dropout: float = size(LanguageModelConfig, "dropout")
    embedding: int = size(
        LanguageModelConfig,
        "embedding",
        "width of the embedding; 0: one-hot input, the fastest with few characters",
        least=0,
        default_help="128, or with --tied as --hidden",
    )
    tied: bool = size(LanguageModelConfig, "tied", "the output layer's weights are the embedding's")
    window: int = option(
        64, "steps of truncated backpropagation through time", "T", least=1, most=65536
    )


class LanguageModelKind(TextKind):
    """A recurrence over characters, words or byte pairs that predicts the next one."""

    name = "lm"
    description = """\
Train a recurrent language model: it reads a text and learns to predict what comes next.
The last tenth of the text is held out, to measure the model on text that it has not seen."""
    examples = """\
  minillm train lm --out runs/first --minutes 2
        on the Python language reference, which ships with every CPython
  minillm train lm shakespeare.txt --out runs/shakespeare
        on a text of your own, with the defaults: an LSTM of 512 over characters, 5 minutes
  minillm train lm a.txt b.txt --out runs/words --unit word --hidden 256 --dropout 0.3
        words instead of characters, those seen only once as one unknown word
  minillm train lm --out runs/shakespeare --resume --minutes 10
        continue to 10 minutes in all

Ctrl-C saves and stops; --resume continues."""
    model = LanguageModel
    config = LanguageModelConfig
    settings = LanguageModelSettings
    look = look_by(read_recurrent)

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """The settings with the cell's rate, and a fitting embedding."""
        if settings.learning_rate is None:
            rate = LM_RATE if settings.cell == "lstm" else min(LM_RATE, 0.8 / settings.hidden)
            settings = replace(settings, learning_rate=rate)
        if settings.tied and given.get("embedding") is None:
            settings = replace(settings, embedding=settings.hidden)
        return settings

    @staticmethod
    def write(
        run: Run,
        prompt: str,
        length: int,
        sampling: Sampling,
        stop: Sequence[str],
        model: Any = None,
    ) -> Iterator[str]:
        """With E W_x computed, if that has fewer rows than there are steps."""
        model = one_hot(run.model) if len(run.tokenizer) < length else run.model
        return write_text(run, prompt, length, sampling, stop, model)


MAMBA_RATE = 1.3  # the learning rate of a model of width 1, with Muon


@dataclass(frozen=True)
class MambaSettings(TextSettings, TrainingSettings, AdaptationSettings):
    """The settings of a Mamba."""

    layers: int = size(MambaConfig, "layers")
    width: int = size(MambaConfig, "width")
    state: int = size(MambaConfig, "state")
    inner: int | None = size(MambaConfig, "inner", default_help="2 D")
    convolution: int = size(MambaConfig, "convolution")
    rank: int | None = size(MambaConfig, "rank", default_help="D / 16")
    dropout: float = size(MambaConfig, "dropout")
    window: int = option(
        64,
        "tokens of a window, which begins with the state of the one before",
        "T",
        least=1,
        most=65536,
    )
    optimiser: str = with_default(
        TrainingSettings, "optimiser", "muon", default_help="muon; with --init adamw"
    )
    learning_rate: float | None = with_default(  # type: ignore[assignment]
        TrainingSettings,
        "learning_rate",
        None,
        default_help=f"{MAMBA_RATE} / width; with --init 0.3 of it",
    )
    batch: int = 16


class MambaKind(TextKind):
    """A linear recurrence over characters, words or byte pairs that selects what it keeps."""

    name = "mamba"
    description = """\
Train a Mamba: a recurrent language model whose gates do not read its state, so that the products
of a whole window are computed at once. Writing takes no more time or memory at the end of a long
text than at its beginning. The last tenth of the text is held out, to measure the model on it."""
    examples = """\
  minillm train mamba --out runs/mamba --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train mamba shakespeare.txt --out runs/shakespeare --layers 6 --width 192
        on a text of your own, over characters, with a larger model
  minillm train mamba my_text.txt --init runs/mamba --out runs/adapted
        from one text to another, with the tokenizer of the first

then: minillm generate DIR, minillm eval DIR, minillm look DIR "a text", minillm export DIR"""
    model: ClassVar[type] = Mamba
    config: ClassVar[type] = MambaConfig
    settings = MambaSettings
    look = look_by(read_mamba)
    padded = True
    import_model = save_imported

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """The settings with a learning rate, which falls with the width."""
        return with_rate(settings, job, MAMBA_RATE / settings.width)

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The defaults with AdamW, which has trained the published models."""
        return super().init_defaults(initial, given) | {"optimiser": "adamw"}
