"""Chat models, fine-tuned on conversations (2022) or on preferences (2023).

The model is a Llama or a decoder after it.  Only small updates to its matrices are trained by
default, and these matrices may be quantised.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np

from minillm.data import docstring_chats
from minillm.data.conversations import (
    Conversation,
    Message,
    read_conversations,
)
from minillm.data.python_texts import builtin_corpus
from minillm.data.splits import Split, split_by_hash
from minillm.decoding import Sampling
from minillm.errors import InputError
from minillm.metrics import perplexity
from minillm.models.decoders import Decoder, DecoderConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.option import option
from minillm.runs.kind import Data, EvalData, Given, Kind, Results, Training
from minillm.runs.kinds.answering import on_answers, require_text, results_of
from minillm.runs.kinds.causal import CausalRun
from minillm.runs.kinds.language import TEXT_OPTIONS
from minillm.runs.load import load
from minillm.runs.lora import has_lora
from minillm.runs.run import Run
from minillm.runs.settings import (
    LENGTHS,
    EvalOptions,
    LoRASettings,
    TrainingSettings,
    by_default,
    of_text,
    settings,
)
from minillm.text import ChatTemplate
from minillm.text.byte_tokens import ByteTokens
from minillm.training import Summary
from minillm.training.conversations import ChatTask, Encoded, mean_loss
from minillm.training.language_model import token_losses
from minillm.training.minibatches import fingerprint
from minillm.training.packed import Packed
from minillm.training.preferences import PreferenceTask

SHOWN, LENGTH = 3, 60  # questions whose answers are shown, and tokens of an answer
REMEMBERED = 4096  # tokens of another text, on which forgetting is measured
LEAST_STEPS = 100  # of a training whose length is not given
SAMPLE = 1000  # items whose mean length counts for all

Column = list[tuple[Encoded, ...]]  # of each item its conversation, or its two


class ChatRun(CausalRun):
    """A run of a fine-tuned chat model."""

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """The loss of the held-out answers, or what a llama has on a file."""
        if data.title or options.pattern is not None:
            return results_of(self, data, options) or super().measure(data, options)
        require_text(options, "a FILE of text with it, found none")
        own = partial(read_parts, self.data)
        name, items = data.items(read_conversations, options.part, own)
        chats = [item for item in items if item.rejected is None]
        if not chats:
            raise InputError(f"{self.path}: expected a FILE: its own data are preferences")
        return {"data": name} | on_answers(self, chats)


# --- settings --------------------------------------------------------------------------------


def begin(kind: Kind, initial: Run, given: Given) -> dict[str, object]:
    """The LoRA that a run continues, if it is over quantised weights; otherwise no settings.

    InputError for a run that is no chat model.
    """
    if not isinstance(initial.model, Llama | Decoder):
        raise InputError(
            f"RUN: expected a run of llama, decoder or chat, found one of "
            f"{initial.kind.name} in {initial.path}"
        )
    if initial.chat_template is None:
        raise InputError(f"{initial.path}: expected a run with a chat template, found none")
    if not _continues(initial):
        return {}
    names = ("lora_rank", "lora_alpha", "lora_targets")
    continued = {name: getattr(initial.settings, name) for name in names}
    for name, value in continued.items():
        if given.get(name) not in (None, value):
            raise InputError(f"expected {value}, as in {initial.path}, found {given[name]}", name)
    return continued


def _continues(run: Run) -> bool:
    """Whether its LoRA is trained further, because it cannot be merged with quantised weights."""
    return run.is_quantised and has_lora(run.settings)


def initial_data(initial: Run) -> Data:
    """The baseline of a LoRA that is trained further, and the run that it comes from."""
    if not _continues(initial):
        return {}
    return {"init": initial.data["init"], "begun_with": str(initial.path)}


def complete(training: Training, given: Given, rate: float, lora_rate: float) -> Any:
    """The settings with lengths that fit the context and the data, and a learning rate.

    The rates are given for a model of width 1.
    """
    settings, initial = training.settings, training.initial
    assert initial is not None
    length, epochs = min(settings.max_length, initial.config.context), settings.epochs
    if all(given.get(name) is None for name in LENGTHS):
        items = read_parts(training.data)["training"]
        some, *_ = encoded_items(initial, items[:SAMPLE], length)
        size = sum(len(one.ids) for item in some for one in item)
        tokens = size * max(1, len(items) / SAMPLE)
        steps = max(1, math.ceil(tokens / (settings.batch * settings.accumulate * length)))
        epochs = max(epochs or 0, math.ceil(LEAST_STEPS / steps))
    chosen = settings.learning_rate
    if chosen is None:
        chosen = (lora_rate if settings.lora_rank else rate) / initial.config.width
    return replace(settings, max_length=length, learning_rate=chosen, epochs=epochs)


# --- training --------------------------------------------------------------------------------


def prepare(training: Training, task_of: Callable[..., Any], unit: str) -> None:
    """Encode the conversations; a tenth of them is held out."""
    settings, data, initial = training.settings, training.data, training.initial
    assert initial is not None
    most, parts = settings.max_length, read_parts(data)
    first = parts["training"][0]
    if (first.rejected is not None) != (unit == "pair"):
        kind, form = training.kind.name, "preferences" if unit == "pair" else "conversations"
        raise InputError(f"{first.place}: {kind}: expected {form}, found a {first.form}")
    columns, cut, missing = [], 0, 0
    for part in ("training", "validation"):
        encoded, *counts = encoded_items(initial, parts[part], most)
        if not encoded:
            raise InputError(
                f"{name_of(data)}: expected a conversation of at most {most} tokens among "
                f"those for {part}, found none: see max_length"
            )
        columns.append(encoded)
        cut, missing = cut + counts[0], missing + counts[1]
    ids = [one.ids for column in columns for item in column for one in item]
    training.record(fingerprint((np.concatenate(ids),)), name_of(data), "the data have")
    training.notes.append(f"{len(columns[0]):,} for training, {len(columns[1]):,} held out")
    if cut:
        training.notes.append(f"{cut:,} are cut to {most} tokens")
    if missing:
        training.notes.append(f"{missing:,} are left out: they exceed {most} tokens")
    model = type(initial.model)(initial.config, params=dict(initial.model.params))
    training.model, training.unit = model, unit
    training.vocabularies = {"tokenizer": initial.tokenizer}
    training.task = task_of(model, *columns, settings)


def answers_task(model: Any, training: Column, validation: Column, settings: Any) -> ChatTask:
    """Supervised fine-tuning: the loss counts the tokens of the answers."""
    tokens = settings.batch * settings.max_length
    answers, unseen = ([one for [one] in some] for some in (training, validation))
    return ChatTask(model, answers, unseen, tokens, settings.seed, recompute=settings.recompute)


def preferences_task(
    model: Any, training: Column, validation: Column, settings: Any
) -> PreferenceTask:
    """Direct preference optimisation, of chosen and rejected answers."""
    tokens = settings.batch * settings.max_length
    chosen, held_out = ([(a, b) for a, b in some] for some in (training, validation))
    beta, recompute = settings.beta, settings.recompute
    return PreferenceTask(
        model, chosen, held_out, tokens, settings.seed, beta=beta, recompute=recompute
    )


def closing(
    training: Training, summary: Summary, gain: Callable[[Any, Run, Run], str]
) -> Iterator[str]:
    """Yield what was gained, what was forgotten, and some answers.

    A training that was interrupted gets none of it, because it takes a while.
    """
    if summary.interrupted:
        return
    data = training.data
    before, after = load(data.get("begun_with") or data["init"]), load(training.folder.path)
    yield gain(training.task, before, after)
    try:
        ids = before.tokenizer.encode(builtin_corpus()[: 8 * REMEMBERED])[:REMEMBERED]
    except InputError as error:
        yield f"forgotten: not measured: {error}"
    else:
        was, now = (perplexity(token_losses(run.model, ids, 1).mean()) for run in (before, after))
        yield f"forgotten: perplexity on the built-in corpus: {was:.4g} before, {now:.4g} after"
    items = read_parts(data)["validation"]
    for item in items[:: max(1, len(items) // SHOWN)][:SHOWN]:
        question, _ = item.last_answer
        if question:
            yield f"> {' '.join(question[-1]['content'].split())[:200]}"
            for word, run in (("before", before), ("after", after)):
                answer = run.answering.answer(question, LENGTH, Sampling(temperature=0))
                yield f"  {word}: {' '.join(''.join(answer).split())}"


def gain_of_answers(task: ChatTask, before: Run, after: Run) -> str:
    """A line about the loss of the answers that were held out."""
    was, now = (mean_loss(Packed(run.model), task.validation)[0] for run in (before, after))
    return f"answers that were held out: {was:.4f} nats per token before, {now:.4f} after"


def gain_of_preferences(task: PreferenceTask, before: Run, after: Run) -> str:
    """A line about the pairs that were held out."""
    share = task.measures["preferred"]
    return f"held-out pairs with a preference for the chosen answer: {share:.1%}"


# --- data ------------------------------------------------------------------------------------


def _talks_of(item: Conversation) -> list[list[Message]]:
    """The conversation of an item, or the two of a preference."""
    return [item.messages] if item.rejected is None else [item.messages, item.rejected]


def encoded_items(run: Run, items: Sequence[Conversation], most: int) -> tuple[Column, int, int]:
    """The ids of each item's conversation, or of its two; how many are cut, and how many missing.

    A long conversation is cut to its first turns.  It is missing if its first turn does not fit,
    and so is a preference that would have to be cut.
    """
    template, tokenizer = cast(ChatTemplate, run.chat_template), cast(ByteTokens, run.tokenizer)
    encoded, cut, missing = [], 0, 0
    talks = [talk for item in items for talk in _talks_of(item)]
    places = [item.place for item in items for _ in _talks_of(item)]
    found = iter(template.encode_answers(tokenizer, talks, most, places))
    for item in items:
        results = [next(found) for _ in _talks_of(item)]
        is_cut = any(left_out for _, _, left_out in results)
        if not all(len(ids) for ids, _, _ in results) or (len(results) > 1 and is_cut):
            missing += 1
        else:
            cut += is_cut
            encoded.append(tuple(Encoded(ids, counted) for ids, counted, _ in results))
    return encoded, cut, missing


def name_of(data: Data) -> str:
    """The files or the built-in set."""
    return ", ".join(data["files"]) or docstring_chats.NAME


def read_parts(data: Data) -> Split[Conversation]:
    """The items for training and validation.

    A tenth is held out, by the first question, so that no question is in both parts.
    """
    if not data["files"]:
        return Split(name_of(data), docstring_chats.docstring_chats())
    items = [*read_conversations(*data["files"])]
    questions = sorted({item.key for item in items})
    if len(questions) < 10:
        raise InputError(
            f"{name_of(data)}: expected conversations with ten different beginnings or more, "
            f"found {len(questions)}"
        )
    held_out = set(split_by_hash(questions, len(questions) // 10, 0)["validation"])
    parts: Split[Conversation] = Split(name_of(data), {"training": [], "validation": []})
    for item in items:
        parts["validation" if item.key in held_out else "training"].append(item)
    return parts


# --- the kinds -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChatSettings(TrainingSettings, LoRASettings):
    """Settings of fine-tuning a chat model."""

    files: tuple[str, ...] = option(
        (), "the data, as JSON lines", "FILE", positional=True, data=True
    )
    max_length: int = of_text(
        512,
        "tokens of a conversation; of a longer one, the first turns that fit are read",
        "N",
        least=8,
        most=1 << 20,
    )
    recompute: bool = option(
        False,
        "compute each block again for its backward: saves memory and takes half as long again",
        group="the run",
        rare=True,
    )


chat_kind = partial(
    Kind,
    run=ChatRun,
    model=Llama,
    config=LlamaConfig,
    config_of=lambda values: DecoderConfig if "family" in values else LlamaConfig,
    model_of=lambda config: Decoder if isinstance(config, DecoderConfig) else Llama,
    begin=begin,
    initial_data=initial_data,
    tokenizer_options=(),  # the run brings its tokenizer
    padded=True,
    eval_options=("part", *TEXT_OPTIONS, "pattern"),
)
chat_settings = partial(
    settings,
    ChatSettings,
    init={
        "help": "the run to begin with: a chat, or a llama or decoder with a chat template",
        "metavar": "RUN",
        "positional": True,
    },
    lora_rank={
        "default": 8,
        "help": "LoRA: train only updates of rank R to the weights; 0: train all weights",
        "least": 0,
    },
    minutes=None,
    epochs=by_default("3; for few tokens, enough for 100 steps", 3),
    patience=3,
    batch={"default": 4, "help": "a batch has up to N times --max-length tokens"},
    weight_decay=0.0,
    beta2=0.99,
    precision=by_default("bfloat16 where that is faster", "bfloat16"),
)

CHAT = chat_kind(
    name="chat",
    description="""\
Fine-tune a chat model. RUN is a chat, or a llama or decoder with a chat template, such as an
imported one.
Each line of FILE is a conversation, {"messages": [...]} or {"prompt": ..., "completion": ...}; the
loss counts the tokens of the answers. A tenth is held out.
Only small updates to the matrices are trained, which may be quantised.""",
    examples="""\
  minillm import SmolLM2-135M-Instruct.Q4_1.gguf --out runs/smol
  minillm finetune runs/smol --out runs/docs
        on questions about Python's standard library and their answers; the GGUF file may take the
        place of runs/smol
  minillm finetune runs/smol chats.jsonl --out runs/mine
        the same as minillm train chat runs/smol chats.jsonl --out runs/mine

then: minillm chat DIR, minillm eval DIR, minillm merge DIR, minillm export DIR --format gguf""",
    complete=partial(complete, rate=0.03, lora_rate=0.4),
    prepare=partial(prepare, task_of=answers_task, unit="token"),
    closing=partial(closing, gain=gain_of_answers),
    settings=chat_settings(
        files={"help": "conversations as JSON lines (default: the built-in set docstring-chats)"},
        learning_rate=by_default("0.4 / width, without LoRA 0.03 / width"),
    ),
)

PREFERENCES = chat_kind(
    name="preferences",
    description="""\
Fine-tune a chat model on preferences. Each line of FILE is a prompt with two answers, {"prompt":
..., "chosen": ..., "rejected": ...}: the chosen answer becomes more probable, and the rejected one
less (DPO). A tenth is held out.""",
    examples="""\
  minillm train preferences runs/mine preferences.jsonl --out runs/better
        minillm finetune does the same, as the data are preferences

then: minillm chat DIR, minillm merge DIR, minillm export DIR --format gguf""",
    complete=partial(complete, rate=0.003, lora_rate=0.04),
    prepare=partial(prepare, task_of=preferences_task, unit="pair"),
    closing=partial(closing, gain=gain_of_preferences),
    settings=chat_settings(
        files={"help": "preferences as JSON lines"},
        learning_rate=by_default("0.04 / width, without LoRA 0.003 / width"),
        beta=(
            float,
            option(
                0.1,
                "strength of the pull towards the original model; smaller values allow larger "
                "changes",
                "B",
                above=0,
                group="gradient descent",
            ),
        ),
    ),
)
