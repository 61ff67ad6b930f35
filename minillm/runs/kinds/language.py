"""Models of running text that read on: training, adapting, writing and measuring.

After training on general text and then, with ``--init``, on the text of a domain, a model predicts
the domain better and the general text worse: the report has the perplexity on the held-out parts of
both texts, before and after.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.windows import Ids
from minillm.decoding import Continuation, Reader, Sampling, write
from minillm.decoding.recurrent import one_hot
from minillm.errors import InputError
from minillm.formats.format import Contents
from minillm.look.measurements import read_on, read_recurrent
from minillm.look.trace import Trace
from minillm.metrics import frequency_loss, perplexity
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.option import check_names, make, types_of
from minillm.runs.kind import (
    FINE_TUNING_RATE_FACTOR,
    EvalData,
    Given,
    Kind,
    Results,
    Training,
    begin_with_same,
)
from minillm.runs.kinds.beside import (
    MixtureReader,
    best_ngram,
    results_beside,
    trace_beside,
)
from minillm.runs.kinds.looking import inside_by
from minillm.runs.kinds.texts import (
    TextOfRun,
    evaluation_ids,
    figures_of,
    open_text,
    results_on,
)
from minillm.runs.load import load, run_of
from minillm.runs.run import Run, kinds_with
from minillm.runs.settings import (
    MUON,
    EvalOptions,
    LoRASettings,
    TrainingSettings,
    WindowSettings,
    by_default,
    config_from,
    settings,
)
from minillm.text import Vocabulary, banned_ids, opening_id, unit_name
from minillm.training import Summary
from minillm.training.dynamic_evaluation import Adapted, adapt
from minillm.training.language_model import LanguageModelTask, stretches, token_losses

COUNTED = 10_000_000  # tokens of the training text whose frequencies are a baseline
MEASURED = 50_000  # the most tokens of each held-out part
# Tokens of a sample.
SHOWN = {"character": 240, "word": 60}  # by unit; otherwise 100


class WritingRun(Run):
    """A run of a model that writes a text on."""

    tokenizer: Vocabulary

    @cached_property
    def reader(self) -> Any:
        """The reader of the model: see :class:`minillm.decoding.Reader`."""
        return Reader(self.model)

    def write(
        self,
        prompt: str = "",
        length: int = 500,
        stop: Sequence[str] = (),
        adapt: bool = False,
        **sampling: object,
    ) -> Iterator[str]:
        """The prompt and its continuation, piece by piece as it is drawn.

        ``length`` counts tokens.  The text ends before a token in ``stop``.  A model that was
        trained on documents may also end it.  With ``adapt``, a copy of the model learns the prompt
        first: see :mod:`minillm.training.dynamic_evaluation`.  The other arguments, such as
        ``temperature`` and ``seed``, are the fields of :class:`minillm.decoding.Sampling`.

        >>> run = minillm.load("runs/first")  # doctest: +SKIP
        >>> "".join(run.write("The ", length=200, seed=1))  # doctest: +SKIP
        """
        check_names(sampling, [*types_of(Sampling), "length", "stop", "adapt"])
        options = make(Sampling, sampling)
        model = self._adapted_to(prompt) if adapt else self.model
        documents = bool(self.data.get("documents"))
        return written(model, self.tokenizer, prompt, length, options, stop, documents)

    def generate(self, prompt: str = "", **options: Any) -> str:
        """The prompt and its continuation as one text; it has the options of ``write``.

        >>> minillm.load("runs/first").generate("The ", length=200, seed=1)  # doctest: +SKIP
        """
        return "".join(self.write(prompt, **options))

    def _adapted_to(self, prompt: str) -> Any:
        """A model that has learned a prompt."""
        if not self.has("adapted"):
            raise self.lacks(kinds_with("adapted"), "adapt")
        ids = self.tokenizer.opened(self.tokenizer.encode_known(prompt, "prompt"))
        if len(ids) < 2:
            raise InputError(f"expected a prompt of 2 tokens or more, found {len(ids)}", "adapt")
        return self.adapted(ids).model


class TextRun(WritingRun):
    """A run of a network that was trained on windows of a text."""

    def adapted(self, ids: Ids) -> Adapted:
        """A copy of the model that has learned a text: see :func:`adapt`."""
        if self.is_quantised:
            raise InputError(
                "expected weights in floats, found quantised ones: see minillm quantise", "adapt"
            )
        return adapt(self.model, ids)

    def losses_on(self, ids: Ids) -> NDArray[np.float64]:
        """The loss of each token after the first, in nats; a few at the end may be missing."""
        window = self.settings.window if hasattr(self.model, "zero_state") else None
        return token_losses(self.model, ids, self.settings.batch, window)

    def loss_on(self, ids: Ids) -> float:
        """The mean loss on a text, in nats."""
        return float(self.losses_on(ids).mean())

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """Nats and bits per token, per byte and per character, and perplexity."""
        name, ids = evaluation_ids(self, data)
        losses_on, losses = self.losses_on, self.losses_on(ids)
        results = results_on(name, self.tokenizer, ids, float(losses.mean()), len(losses))
        if options.beside:
            results |= results_beside(self, ids)
        if options.adapt:

            def losses_on(ids: Ids) -> NDArray[np.float64]:
                return self.adapted(ids).losses

            losses = losses_on(ids)
            nats, tokens = float(losses.mean()), len(losses)
            results |= figures_of("adapted", self.tokenizer, ids, nats, tokens)
        if options.mix:
            reader = MixtureReader(self)
            if data.title:
                reader.start(losses_on)
            results |= reader.results(ids, losses)
        return results

    def trace(self, text: str) -> Trace:
        """The arrays that ``look`` shows of a text, with nothing beside them."""
        read = read_recurrent if isinstance(self.model, LanguageModel) else read_on
        return inside_by(read, self, text)

    def trace_beside(self, text: str) -> Trace | None:
        """The best n-gram of the training text."""
        return trace_beside(self, text)

    def sample(self) -> Iterator[str]:
        """Some text from the model with the best weights."""
        length = SHOWN.get(self.tokenizer.unit, 100)
        return chain(["sample:\n\n"], self.write(length=length, seed=self.settings.seed), ["\n"])


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
        raise InputError(f"expected one token or more, found none in {prompt!r}", "prompt")
    ends = [] if tokenizer.eos is None else [tokenizer.eos]
    for text in stop:
        token = tokenizer.encode_known(text, "stop")
        if len(token) != 1:
            raise InputError(f"expected a single {unit_name(tokenizer)}, found {text!r}", "stop")
        ends.append(int(token[0]))
    banned = banned_ids(tokenizer, documents, model.config.vocabulary)
    opening = np.array([opening_id(tokenizer, documents)])
    read = (tokenizer.opened(ids) if len(ids) else opening).tolist()
    if isinstance(model, LanguageModel) and len(tokenizer) < length:
        model = one_hot(model)  # E W_x has fewer rows than there are steps
    return tokenizer.stream(
        chain(ids, write(model, Continuation(read, length, sampling, frozenset(ends), banned)))
    )


# --- training --------------------------------------------------------------------------------


def prepare(training: Training, task_of: Callable[[Training, TextOfRun], Any]) -> None:
    """Hold out the last tenth of the text; the rest determines the vocabulary."""
    kind, settings = training.kind, training.settings
    known = training.stored.config if training.stored else None
    if training.initial:
        known = training.initial.config
    config_from(settings, kind.config, known, vocabulary=2)  # before the data are read
    text = open_text(training)
    rows = len(text.tokenizer) if known is None else None  # or those that are known
    config = config_from(settings, kind.config, known, vocabulary=rows)
    training.model = kind.model(config, training.rng)
    training.vocabularies = {"tokenizer": text.tokenizer}
    training.unit = unit_name(text.tokenizer)
    training.task = task_of(training, text)
    held_out = training.task.validation_ids
    training.baseline = frequency_loss(text.training[:COUNTED], held_out)


def reads_on(training: Training, text: TextOfRun) -> LanguageModelTask:
    """The training on windows that read on, each with the state of the one before."""
    settings = training.settings
    parts = text.training[:], text.validation[:]
    return LanguageModelTask(training.model, *parts, settings.batch, settings.window)


def closing(training: Training, summary: Summary) -> Iterator[str]:
    """Yield the loss of the best n-gram; if the model was adapted, its gain and loss."""
    if not summary.interrupted:
        task, tokenizer = training.task, training.vocabularies["tokenizer"]
        _, best = best_ngram(task.batches.ids, task.validation_ids, tokenizer)
        training.folder.append_metrics(
            {"step": summary.step, "ngram_loss": best.nats, "ngram_order": best.order}
        )
        yield best.describe(training.unit)
    if training.data.get("init"):
        yield from gained_and_forgotten(training)


def gained_and_forgotten(training: Training) -> Iterator[str]:
    """Yield a line for each of the two texts: the perplexity before and after."""
    before, after = load(training.data["init"]), load(training.folder.path)
    for word, owner in (("gained", after), ("forgotten", before)):
        try:
            name, ids = evaluation_ids(owner)
        except InputError as error:
            yield f"{word}: not measured: {error}"
            continue
        some = stretches(ids, MEASURED)
        was, now = (perplexity(run.loss_on(some)) for run in (before, after))
        if word == "forgotten" and now < was:
            word = "not forgotten"
        yield f"{word}: perplexity on {name}: {was:.4g} before, {now:.4g} after"


def with_rate(training: Training, rate: float) -> Any:
    """The settings with a learning rate, by default ``rate``, or less with ``--init``."""
    settings = training.settings
    if settings.learning_rate is not None:
        return settings
    gently = training.data.get("init") and not settings.lora_rank
    return replace(settings, learning_rate=(FINE_TUNING_RATE_FACTOR if gently else 1) * rate)


def rate_by_width(rate: float) -> Callable[[Training, Given], Any]:
    """The settings with a learning rate: the best falls with the width (Yang 2022).

    ``rate`` is the best one of a model of width 1.
    """
    return lambda training, given: with_rate(training, rate / training.settings.width)


def begin_with_adamw(kind: Kind, initial: Run, given: Given) -> dict[str, object]:
    """The defaults with AdamW, which has trained the published models."""
    return begin_with_same(kind, initial, given) | {"optimiser": "adamw"}


def imported(kind: Kind, contents: Contents, file: str) -> Run:
    """See :class:`minillm.runs.kind.Kind`."""
    tokenizer = contents.tokenizer
    info = {"documents": tokenizer.eos is not None}
    return run_of(kind, contents, file, kind.settings(unit=tokenizer.unit), info)


# --- the kinds -------------------------------------------------------------------------------


TEXT_OPTIONS = ("beside", "adapt", "mix")  # of eval
text_kind = partial(
    Kind,
    run=TextRun,
    prepare=partial(prepare, task_of=reads_on),
    closing=closing,
    takes=("text",),
    eval_options=TEXT_OPTIONS,
)


NEURAL_NGRAM = text_kind(
    name="neural-ngram",
    description="""\
Train the neural n-gram model of Bengio et al. (2003): it sees as many tokens as an n-gram model,
but learns their similarities. The last tenth of the text is held out.""",
    examples="""\
  minillm train neural-ngram --out runs/bengio --minutes 2
        on the Python language reference, which ships with every CPython
  minillm train neural-ngram text.txt --out runs/words --unit word --order 5 --embedding 60

then: minillm generate DIR, minillm eval DIR""",
    model=NeuralNGram,
    config=NeuralNGramConfig,
    settings=settings(
        WindowSettings,
        TrainingSettings,
        config=NeuralNGramConfig,
        sizes="order embedding hidden",
        order={"help": "tokens of an n-gram: the model sees N - 1", "least": 2, "most": 1000},
    ),
)


LM_RATE = 6e-3  # at which an LSTM of 512 learns best; a wide rnn or gru diverges


def complete_recurrent(training: Training, given: Given) -> Any:
    """The settings with the cell's rate, and a fitting embedding."""
    settings = training.settings
    if settings.learning_rate is None:
        rate = LM_RATE if settings.cell == "lstm" else min(LM_RATE, 0.8 / settings.hidden)
        settings = replace(settings, learning_rate=rate)
    if settings.tied and given.get("embedding") is None:
        settings = replace(settings, embedding=settings.hidden)
    return settings


LM = text_kind(
    name="lm",
    description="""\
Train a recurrent language model: it reads a text and learns to predict what comes next.
The last tenth of the text is held out, to measure the model on text that it has not seen.""",
    examples="""\
  minillm train lm --out runs/first --minutes 2
        on the Python language reference, which ships with every CPython
  minillm train lm shakespeare.txt --out runs/shakespeare
        on a text of your own, with the defaults: an LSTM of 512 over characters, 5 minutes
  minillm train lm a.txt b.txt --out runs/words --unit word --hidden 256 --dropout 0.3
        words instead of characters, those seen only once as one unknown word
  minillm train lm --out runs/shakespeare --resume --minutes 10
        continue to 10 minutes in all

Ctrl-C saves and stops; --resume continues.""",
    model=LanguageModel,
    config=LanguageModelConfig,
    complete=complete_recurrent,
    settings=settings(
        WindowSettings,
        TrainingSettings,
        LoRASettings,
        config=LanguageModelConfig,
        sizes="cell layers hidden dropout embedding tied",
        layers={"most": 64},
        embedding={
            "help": "width of the embedding; 0: one-hot input, the fastest with few characters",
            "least": 0,
            "default_help": "128, or with --tied as --hidden",
        },
        learning_rate=by_default(f"{LM_RATE}; of rnn and gru at most 0.8 / hidden"),
    ),
)


MAMBA_RATE = 1.3  # the learning rate of a model of width 1, with Muon


MAMBA = text_kind(
    name="mamba",
    description="""\
Train a Mamba: a recurrent language model whose gates do not read its state, so that the products
of a whole window are computed at once. Writing takes no more time or memory at the end of a long
text than at its beginning. The last tenth of the text is held out, to measure the model on it.""",
    examples="""\
  minillm train mamba --out runs/mamba --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train mamba shakespeare.txt --out runs/shakespeare --layers 6 --width 192
        on a text of your own, over characters, with a larger model
  minillm train mamba my_text.txt --init runs/mamba --out runs/adapted
        from one text to another, with the tokenizer of the first

then: minillm generate DIR, minillm eval DIR, minillm look DIR "a text", minillm export DIR""",
    model=Mamba,
    config=MambaConfig,
    complete=rate_by_width(MAMBA_RATE),
    begin=begin_with_adamw,
    imported=imported,
    padded=True,
    settings=settings(
        WindowSettings,
        TrainingSettings,
        LoRASettings,
        config=MambaConfig,
        sizes="layers width state inner convolution rank dropout",
        inner={"default_help": "2 D"},
        rank={"default_help": "D / 16"},
        optimiser=MUON,
        learning_rate=by_default(f"{MAMBA_RATE} / width; with --init 0.3 of it"),
        batch=16,
    ),
)
