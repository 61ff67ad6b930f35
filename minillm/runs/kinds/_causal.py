"""The shared parts of Transformers that predict the next token: GPT and Llama."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm.data import RandomWindows
from minillm.data.windows import Ids
from minillm.decoding import Sampling
from minillm.decoding.summaries import Length, summaries
from minillm.errors import InputError
from minillm.formats.format import Contents
from minillm.look.inside import MOST, Inside
from minillm.look.measurements import read_gpt
from minillm.metrics import frequency_loss
from minillm.models.gpt import GPTConfig
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Job, Parts
from minillm.runs.kinds._adaptation import with_rate, with_replay
from minillm.runs.kinds._look import inside_of, text_ids
from minillm.runs.kinds._text import (
    TextKind,
    WritingKind,
    known_config,
    save_imported,
    write_text,
)
from minillm.runs.kinds._text_data import check_longer, open_text
from minillm.runs.run import Run
from minillm.runs.settings import (
    AdaptationSettings,
    ShardSettings,
    TextSettings,
    TrainingSettings,
    config_from,
    size,
    with_default,
)
from minillm.text import unit_name
from minillm.training import Summary
from minillm.training.language_model import (
    ContextTask,
    evaluate_in_context,
    token_losses_in_context,
)
from minillm.training.progress import progress_bar

COUNTED = 10_000_000  # tokens of the training text whose frequencies are a baseline
SAMPLE = 60  # tokens shown after each validation


@dataclass(frozen=True)
class CausalSettings(ShardSettings, TextSettings, TrainingSettings, AdaptationSettings):
    """The settings of a GPT; other kinds change them."""

    layers: int = size(GPTConfig, "layers", "number of blocks")
    heads: int = size(GPTConfig, "heads")
    width: int = size(GPTConfig, "width")
    context: int = size(GPTConfig, "context")
    dropout: float = size(GPTConfig, "dropout")
    learning_rate: float | None = with_default(  # type: ignore[assignment]
        TrainingSettings, "learning_rate", None, default_help="0.4 / width; with --init 0.3 of it"
    )
    batch: int = 16
    beta2: float = 0.99
    weight_decay: float = 0.1


class CausalAbilities(WritingKind):
    """The abilities of a stack of Transformer blocks that predicts the next token."""

    padded = True

    def nats_on(self, run: Run, ids: Ids) -> tuple[float, int]:
        """The mean loss on a text, in nats per token, and the number of tokens."""
        return evaluate_in_context(run.model, ids, run.settings.batch)

    def losses_on(self, run: Run, ids: Ids) -> NDArray[np.float64]:
        """The loss of each token after the first, in nats."""
        return token_losses_in_context(run.model, ids, run.settings.batch)

    def summaries(
        self,
        run: Run,
        texts: Sequence[str],
        places: Sequence[str],
        length: Length,
        report: Callable[[str], None],
        **search: Any,
    ) -> Iterator[str | InputError]:
        """See :meth:`minillm.runs.run.Run.summaries`; InputError without a chat template."""
        for name in search:
            raise InputError(
                f"{name}: expected a run that was trained on pairs, found one of {run.kind.name}"
            )
        if run.chat_template() is None:
            raise InputError(
                f"{run.path}: expected a run with a chat template, or one that was trained on "
                f"pairs, found one of {run.kind.name} without a template"
            )
        progress = partial(progress_bar, unit=" parts")
        return summaries(run.answering, texts, places, length, report, progress)

    def look(self, run: Run, text: str) -> Inside:
        """See :meth:`minillm.runs.run.Run.look`: with the attention of all heads."""
        most = min(run.model.config.context, MOST)
        _, ids, notes = text_ids(run.tokenizer, text, most)
        return inside_of(run, run.tokenizer, ids, notes=notes, **read_gpt(run.model, ids))


class CausalKind(CausalAbilities, TextKind):
    """A stack of Transformer blocks over characters, words or byte pairs."""

    rate: ClassVar[float] = 0.4  # the learning rate of a model of width 1

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """The settings with a learning rate: the best falls with the width (Yang 2022)."""
        return with_rate(settings, job, self.rate / settings.width)

    def prepare(self, job: Job, rng: np.random.Generator) -> Parts:
        """Hold out the last tenth of the text; the rest determines the vocabulary."""
        settings, known = job.settings, known_config(job)
        config_from(settings, self.config, known, vocabulary=2)  # before the data
        tokenizer, training, validation, facts = open_text(job)
        training = with_replay(training, job)
        check_longer(training, settings.context)
        rows = len(tokenizer) if known is None else None  # or those that are known
        config = config_from(settings, self.config, known, vocabulary=rows)
        model = self.model(config, rng)
        notes = []
        tables = "embedding.ngrams."  # dropped by half in training, whether there is dropout or not
        weights = sum(p.size for name, p in model.params.items() if not name.startswith(tables))
        fresh = job.initial is None and job.stored is None
        if fresh and settings.dropout == 0 and weights > len(training):
            notes.append(
                f"the model has {weights:,} weights, and the text {len(training):,} "
                f"{unit_name(tokenizer)}s: if it overfits, try a dropout of 0.1"
            )

        def sample() -> str:
            pieces = write_text(
                model,
                tokenizer,
                length=SAMPLE,
                sampling=Sampling(seed=0),
                documents=bool(facts.documents),
            )
            return " ".join("".join(pieces).split())

        windows = RandomWindows(training, settings.batch, settings.context, settings.seed)
        task = ContextTask(
            model, windows, validation, settings.batch, settings.validation_tokens, sample
        )
        return Parts(
            model=model,
            task=task,
            unit=unit_name(tokenizer),
            vocabularies={"tokenizer": tokenizer},
            notes=notes,
            baseline=frequency_loss(training[:COUNTED], task.validation_ids),
            facts=facts,
        )

    def closing(self, job: Job, parts: Parts, summary: Summary) -> Iterator[str]:
        """Yield what every language model reports, and the speed of the training."""
        yield from super().closing(job, parts, summary)
        rate = summary.tokens / max(1e-9, summary.seconds - summary.validation_seconds)
        yield f"{rate:,.0f} tokens per second"

    def import_model(self, contents: Contents, file: str, folder: RunFolder) -> str:
        """See :class:`minillm.runs.kind.Kind`."""
        return save_imported(self, contents, file, folder)
