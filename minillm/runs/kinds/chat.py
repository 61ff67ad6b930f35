"""Chat models, fine-tuned on conversations (2022) or on preferences (2023).

The model is a Llama or a decoder after it.  Only small updates to its matrices are trained by
default, and these matrices may be quantised.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np

from minillm.data import docstrings
from minillm.data.conversations import (
    Conversation,
    Message,
    read_conversations,
)
from minillm.data.splits import Split, split_by_hash
from minillm.decoding import Sampling
from minillm.errors import InputError
from minillm.models.decoders import Decoder, DecoderConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.option import option
from minillm.runs.kind import Data, EvalData, Given, Kind, Results, Training
from minillm.runs.kinds.language import TEXT_OPTIONS, CausalRun, require_text
from minillm.runs.run import Run
from minillm.runs.settings import (
    EvalOptions,
    LoRASettings,
    TrainingSettings,
    by_default,
    of_text,
    settings,
)
from minillm.text import ChatTemplate
from minillm.text.byte_tokens import ByteTokens
from minillm.training.conversations import ChatTask, Encoded
from minillm.training.minibatches import fingerprint
from minillm.training.preferences import PreferenceTask

SHOWN, LENGTH = 3, 60  # questions of a sample, and tokens of an answer

Column = list[tuple[Encoded, ...]]  # of each item its conversation, or its two


class ChatRun(CausalRun):
    """A run of a fine-tuned chat model."""

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """The loss of the held-out answers, or what a llama has on a file."""
        if data.title or options.pattern is not None:
            return super().measure(data, options)
        require_text(options, "a FILE of text with it, found none")
        own = partial(read_parts, self.data)
        name, items = data.items(read_conversations, options.part, own)
        if all(item.rejected is not None for item in items):
            raise InputError(f"{self.path}: expected a FILE: its own data are preferences")
        return {"data": name} | self.on_conversations(items)

    def sample(self) -> Iterator[str]:
        """Yield answers to questions that were held out."""
        items = read_parts(self.data)["validation"]
        yield "sample:\n\n"
        for item in items[:: max(1, len(items) // SHOWN)][:SHOWN]:
            question, _ = item.last_answer
            if question:
                yield f"> {' '.join(question[-1]['content'].split())[:200]}\n"
                answer = self.answering.answer(question, LENGTH, Sampling(temperature=0))
                yield f"  {' '.join(''.join(answer).split())}\n"


# --- settings --------------------------------------------------------------------------------


def begin(
    kind: Kind, initial: Run, given: Given, rate: float, lora_rate: float
) -> dict[str, object]:
    """The learning rate, from one of a model of width 1.  InputError for a run that cannot chat."""
    if not isinstance(initial.model, Llama | Decoder):
        raise InputError(
            f"RUN: expected a run of llama, decoder or chat, found one of "
            f"{initial.kind.name} in {initial.path}"
        )
    if initial.chat_template is None:
        raise InputError(f"{initial.path}: expected a run with a chat template, found none")
    lora = given.get("lora_rank", kind.settings.lora_rank)
    return {"learning_rate": (lora_rate if lora else rate) / initial.config.width}


# --- training --------------------------------------------------------------------------------


def prepare(training: Training, task: type[Any], unit: str) -> None:
    """Encode the conversations; a tenth of them is held out."""
    data, initial = training.data, training.initial
    assert initial is not None
    length = min(training.settings.max_length, initial.config.context)
    settings = training.settings = replace(training.settings, max_length=length)
    most, parts = length, read_parts(data)
    first = parts["training"][0]
    pairs = unit == "pair"
    if (first.rejected is not None) != pairs:
        kind, form = training.kind.name, "preferences" if pairs else "conversations"
        raise InputError(f"{first.place}: {kind}: expected {form}, found a {first.form}")
    columns: list[Sequence[Any]] = []
    ids, cut, missing = [], 0, 0
    for part in ("training", "validation"):
        encoded, *counts = encoded_items(initial, parts[part], most)
        if not encoded:
            raise InputError(
                f"{name_of(data)}: expected a conversation of at most {most} tokens among "
                f"those for {part}, found none: see max_length"
            )
        ids += [one.ids for item in encoded for one in item]
        columns.append(encoded if pairs else [one for [one] in encoded])
        cut, missing = cut + counts[0], missing + counts[1]
    training.record(fingerprint((np.concatenate(ids),)), name_of(data), "the data have")
    training.notes.append(f"{len(columns[0]):,} for training, {len(columns[1]):,} held out")
    if cut:
        training.notes.append(f"{cut:,} are cut to {most} tokens")
    if missing:
        training.notes.append(f"{missing:,} are left out: they exceed {most} tokens")
    model = type(initial.model)(initial.config, params=dict(initial.model.params))
    training.model, training.unit = model, unit
    training.vocabularies = {"tokenizer": initial.tokenizer}
    options = {"recompute": settings.recompute} | ({"beta": settings.beta} if pairs else {})
    training.task = task(model, *columns, settings.batch * most, settings.seed, **options)


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
    return ", ".join(data["files"]) or docstrings.NAME


def read_parts(data: Data) -> Split[Conversation]:
    """The items for training and validation.

    A tenth is held out, by the first question, so that no question is in both parts.
    """
    if not data["files"]:
        return Split(name_of(data), docstrings.docstring_chats())
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
    epochs=3,
    patience=3,
    batch={"default": 4, "help": "a batch has up to N times --max-length tokens"},
    weight_decay=0.0,
    beta2=0.99,
    precision=by_default("bfloat16 where that is faster", "bfloat16"),
)

CHAT = chat_kind(
    name="chat",
    description="""\
Fine-tune a chat model: RUN, a chat, or a llama or decoder with a chat template.  Each line
of FILE is a conversation, {"messages": [...]} or {"prompt": ..., "completion": ...}; the loss
counts the tokens of the answers. A tenth is held out.
Only small updates to the matrices are trained, which may be quantised.""",
    examples="""\
  minillm import SmolLM2-135M-Instruct.Q4_1.gguf --out runs/smol
  minillm finetune runs/smol --out runs/docs
        on questions about Python's standard library and their answers; the GGUF file may take the
        place of runs/smol
  minillm train chat runs/smol chats.jsonl --out runs/mine
        minillm finetune does the same, as the data are conversations

then: minillm chat DIR, minillm eval DIR, minillm merge DIR, minillm export DIR --format gguf""",
    begin=partial(begin, rate=0.03, lora_rate=0.4),
    prepare=partial(prepare, task=ChatTask, unit="token"),
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
    begin=partial(begin, rate=0.003, lora_rate=0.04),
    prepare=partial(prepare, task=PreferenceTask, unit="pair"),
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
