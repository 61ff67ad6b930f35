"""The shared parts of models of running text: training, writing and measuring."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import copy_file
from minillm.data.registry import absolute
from minillm.data.windows import Ids
from minillm.decoding import Sampling, Text, write
from minillm.errors import InputError
from minillm.formats.format import Contents
from minillm.look.inside import Inside
from minillm.metrics import frequency_loss
from minillm.option import make
from minillm.runs.config import save_run
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Given, Job, Kind, Parts, Results, Stored, described
from minillm.runs.kinds._adaptation import gained_and_forgotten, with_replay
from minillm.runs.kinds._best_ngram import best_ngram, inside_beside, results_beside
from minillm.runs.kinds._mixture import MixtureReader
from minillm.runs.kinds._sources import with_sources
from minillm.runs.kinds._text_data import evaluation_ids, figures_of, open_text, results_on
from minillm.runs.run import Run
from minillm.runs.settings import Evaluation, TextEvaluation, config_from
from minillm.text import Vocabulary, banned_ids, opening_id, unit_name
from minillm.training import Summary
from minillm.training.dynamic_evaluation import Adapted, adapt
from minillm.training.language_model import (
    LanguageModelTask,
    WindowTask,
    evaluate,
    token_losses,
)

LENGTH = 500  # tokens to write by default
# Tokens of a sample.
SHOWN = {"character": 240, "word": 60, "bpe": 100, "wordpiece": 100}


def write_text(
    model: Any,
    tokenizer: Vocabulary,
    prompt: str = "",
    length: int = LENGTH,
    sampling: Sampling | None = None,
    stop: Sequence[str] = (),
    *,
    documents: bool = False,
) -> Iterator[str]:
    """The prompt and its continuation: see :meth:`minillm.runs.run.Run.write`.

    Without a prompt, the model starts a new line, if its vocabulary has line ends.  A model that
    was trained on ``documents`` starts a document, and ends it with EOS.  BOS precedes the prompt
    if the vocabulary says so, and is not written.  Nor is the unknown word.
    """
    ids = tokenizer.encode_known(prompt, "prompt")
    if prompt and not len(ids):
        raise InputError(f"prompt: expected one token or more, found none in {prompt!r}")
    ends = [_one_token(tokenizer, text) for text in stop]
    if tokenizer.eos is not None:
        ends.append(tokenizer.eos)
    banned = banned_ids(tokenizer, documents, model.config.vocabulary)
    opening = np.array([opening_id(tokenizer, documents)])
    read = (tokenizer.opened(ids) if len(ids) else opening).tolist()
    text = Text(read, length, sampling or Sampling(), frozenset(ends), banned)
    return tokenizer.stream(chain(ids, write(model, text)))


def _one_token(tokenizer: Vocabulary, text: str) -> int:
    ids = tokenizer.encode_known(text, "stop")
    if len(ids) != 1:
        raise InputError(f"stop: expected a single {unit_name(tokenizer)}, found {text!r}")
    return int(ids[0])


def save_imported(kind: Kind, contents: Contents, file: str, folder: RunFolder) -> str:
    """Save a model of another program as a run of a kind; return a line about it.

    A file with quantised weights is copied as it is.
    """
    model, tokenizer, chat = contents.model, contents.tokenizer, contents.chat
    if chat is not None:
        make(Sampling, chat.sampling, f"{file}: its values for sampling: ")
    settings = kind.settings(unit=tokenizer.unit)
    data = {"files": [], "imported": absolute(file), "documents": tokenizer.eos is not None}
    stored = Stored(kind, model.config, settings, data)
    quantised = any(not isinstance(weight, np.ndarray) for weight in model.params.values())
    weights = partial(copy_file, file) if quantised else model.params
    save_run(folder, stored, weights, {"tokenizer": tokenizer}, chat=chat)
    return described(model, tokenizer)


def known_config(job: Job) -> Any:
    """The config of the run to resume, or of the run of ``--init``; None for a fresh model."""
    if job.stored is not None:
        return job.stored.config
    return None if job.initial is None else job.initial.model.config


class WritingKind(Kind):
    """The abilities of a language model."""

    takes: ClassVar[tuple[str, ...]] = ("text",)
    evaluation: ClassVar[type[Evaluation]] = TextEvaluation

    def write(
        self, run: Run, prompt: str, length: int, sampling: Sampling, stop: Sequence[str]
    ) -> Iterator[str]:
        """See :meth:`minillm.runs.run.Run.write`."""
        model, documents = self.writing_model(run, length), run.data.get("documents", False)
        return write_text(model, run.tokenizer, prompt, length, sampling, stop, documents=documents)

    def writing_model(self, run: Run, length: int) -> Any:
        """The model in the form that writes ``length`` tokens fastest."""
        return run.model

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
        """A copy of the model that has learned a text: see :func:`adapt`.

        InputError for quantised weights.
        """
        if any(not isinstance(weight, np.ndarray) for weight in run.model.params.values()):
            raise InputError(
                "adapt: expected weights in floats, which can learn, found quantised ones "
                "(`minillm quantise --to f32` makes floats of them)"
            )
        return adapt(run.model, ids)

    def adapted_losses_on(self, run: Run, ids: Ids) -> NDArray[np.float64]:
        """The loss of each token after the first, in nats, before it is learned."""
        return self.adapted(run, ids).losses

    def look_beside(self, run: Run, text: str) -> Inside | None:
        """The best n-gram's predictions of a text: see :meth:`minillm.runs.run.Run.look`."""
        return inside_beside(run, text)

    def with_sources(self, run: Run, text: str, inside: Inside) -> Inside:
        """The look with passages of the training text: see :meth:`minillm.runs.run.Run.look`."""
        return with_sources(run, text, inside)

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

    def new_model(self, job: Job, vocabulary: int, rng: np.random.Generator) -> Any:
        """The model with fresh parameters, of the sizes of the run to begin or to go on with."""
        known = known_config(job)
        rows = vocabulary if known is None else None  # or those that are known
        return self.model(config_from(job.settings, self.config, known, vocabulary=rows), rng)

    def prepare(self, job: Job, rng: np.random.Generator) -> Parts:
        """Hold out the last tenth of the text; the rest determines the vocabulary."""
        settings = job.settings
        tokenizer, training, validation, facts = open_text(job)
        training, validation = with_replay(training, job)[:], validation[:]
        model = self.new_model(job, len(tokenizer), rng)
        return Parts(
            model=model,
            task=LanguageModelTask(model, training, validation, settings.batch, settings.window),
            unit=unit_name(tokenizer),
            vocabularies={"tokenizer": tokenizer},
            baseline=frequency_loss(training, validation),
            facts=facts,
        )

    def closing(self, job: Job, parts: Parts, summary: Summary) -> Iterator[str]:
        """Yield the loss of the best n-gram; if the model was adapted, its gain and loss."""
        if not summary.interrupted:
            task = parts.task
            assert isinstance(task, WindowTask)
            best = best_ngram(
                task.windows.ids, task.validation_ids, parts.vocabularies["tokenizer"]
            )
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
