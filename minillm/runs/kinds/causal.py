"""Transformers that predict the next token: GPT, Llama and the decoders after it."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from minillm.data import RandomWindows
from minillm.decoding import Chat, Sampling
from minillm.decoding.summaries import Length, summaries
from minillm.errors import InputError, InputWarning
from minillm.formats.format import Contents
from minillm.look.measurements import read_gpt
from minillm.look.trace import MOST, Trace
from minillm.models.decoders import FAMILIES, Decoder, DecoderConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.option import check_names, make, option_of, types_of
from minillm.runs.kind import EvalData, Given, Kind, Results, Training
from minillm.runs.kinds.answering import results_of
from minillm.runs.kinds.language import (
    TEXT_OPTIONS,
    TextRun,
    begin_with_adamw,
    imported,
    prepare,
    rate_by_width,
    text_kind,
)
from minillm.runs.kinds.looking import text_ids, trace_of
from minillm.runs.kinds.texts import TextOfRun, check_longer
from minillm.runs.run import Run, Summarises
from minillm.runs.settings import (
    MUON,
    EvalOptions,
    LoRASettings,
    ShardSettings,
    SummarySearch,
    TextSettings,
    TrainingSettings,
    by_default,
    settings,
)
from minillm.text import ChatTemplate
from minillm.text.chat_template import KNOWN, Message
from minillm.training.language_model import WindowTask

RATE = 0.4  # the learning rate of a model of width 1


class CausalRun(TextRun, Summarises):
    """A run of a Transformer that predicts the next token."""

    def trace(self, text: str) -> Trace:
        """The arrays that ``look`` shows of a text: with the attention of all heads."""
        _, ids, notes = text_ids(self.tokenizer, text, min(self.config.context, MOST))
        return trace_of(self, self.tokenizer, ids, notes=notes, **read_gpt(self.model, ids))

    # --- chats ---

    def chat(
        self,
        messages: Sequence[Message],
        length: int | None = None,
        report: Callable[[str], None] = warnings.warn,
        schema: object = None,
        **sampling: object,
    ) -> Iterator[str]:
        """The answer to a conversation, piece by piece as it is drawn.

        Each message has a "role" ("system", "user" or "assistant") and a "content".  ``length``
        counts tokens; None: as many as fit the context.  The oldest turns are left out if not all
        fit it, and ``report`` is called with a line about it.  With a ``schema``, the answer is
        JSON that satisfies it: see :mod:`minillm.decoding.grammar`.  The other arguments are
        the fields of :class:`minillm.decoding.Sampling`; the defaults come from the model's files,
        or from :class:`minillm.decoding.ChatSampling`.

        >>> run = minillm.load("runs/smol")  # doctest: +SKIP
        >>> "".join(run.chat([{"role": "user", "content": "Who are you?"}]))  # doctest: +SKIP
        """
        chat = self.answering
        check_names(sampling, [*types_of(Sampling), "length", "schema"])
        grammar = None if schema is None else chat.grammar(schema)
        return chat.answer(messages, length, chat.sampling_with(**sampling), report, grammar)

    @cached_property
    def answering(self) -> Chat:
        """The model with its tokenizer and its chat template, and the cache of a conversation."""
        return self.answering_in(None)

    def answering_in(self, template: str | None) -> Chat:
        """Like ``answering``, with one of the known templates in the place of the run's own.

        InputError for a run without a template.
        """
        stored = self.chat_template
        if template is not None:
            stored = replace(stored, source=template) if stored else ChatTemplate(template)
        if stored is None:
            raise InputError(
                f"{self.place()}the run has no chat template: expected one of "
                f"{', '.join(KNOWN)} as the template"
            )
        return Chat(self.reader, self.tokenizer, stored)  # type: ignore[arg-type]

    def summaries(
        self,
        texts: Sequence[str],
        sentences: int | None = None,
        words: int | None = None,
        places: Sequence[str] | None = None,
        report: Callable[[str], None] = warnings.warn,
        **search: Any,
    ) -> Iterator[str | InputError]:
        """The summaries of texts, in order, as they are written.

        The model is asked for a summary.  Of a text that exceeds its context, the beginning is
        read, and ``report`` is called with a line about it.  An InputError, which is not raised,
        says why a text has none.  ``sentences`` and ``words``
        limit each summary.  ``places`` name the texts in messages.
        """
        length = make(Length, {"sentences": sentences, "words": words})
        make(SummarySearch, search)
        for name in search:
            raise InputError(
                f"expected a run that was trained on pairs, found one of {self.kind.name}", name
            )
        if self.chat_template is None:
            raise InputError(f"{self.path}: expected a run with a chat template, found none")
        places = places or [f"text {number}" for number in range(1, len(texts) + 1)]
        return summaries(self.answering, texts, places, length, report)


class AnsweringRun(CausalRun):
    """A run that is also measured on conversations."""

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """Figures on a text or on conversations, as the file has it."""
        return results_of(self, data, options) or super().measure(data, options)


# --- training --------------------------------------------------------------------------------


def reads_context(training: Training, text: TextOfRun) -> WindowTask:
    """The training on passages of the length of the context, which do not read on."""
    settings, model = training.settings, training.model
    check_longer(text.training, settings.context)

    batch, most = settings.batch, settings.validation_tokens
    windows = RandomWindows(text.training, batch, settings.context, settings.seed)
    return WindowTask(model, windows, text.validation, batch, most)


def imported_llama(kind: Kind, contents: Contents, file: str) -> Run:
    """See :class:`minillm.runs.kind.Kind`; a longer context than the largest one is cut."""
    model, most = contents.model, int(option_of(kind.settings, "context").most or 0)
    if model.config.context > most:
        warnings.warn(
            f"{file}: its context of {model.config.context:,} tokens is cut to {most:,}",
            InputWarning,
            stacklevel=2,
        )
        model = kind.model(replace(model.config, context=most), params=model.params)
    return imported(kind, replace(contents, model=model), file)


# --- the kinds -------------------------------------------------------------------------------


causal_kind = partial(
    text_kind,
    prepare=partial(prepare, task_of=reads_context),
    complete=rate_by_width(RATE),
    padded=True,
)
causal_settings = partial(
    settings,
    ShardSettings,
    TextSettings,
    TrainingSettings,
    LoRASettings,
    learning_rate=by_default("0.4 / width; with --init 0.3 of it"),
    batch=16,
    beta2=0.99,
    weight_decay=0.1,
)

GPT_KIND = causal_kind(
    name="gpt",
    description="""\
Train a GPT: it reads a text, attends to all tokens before each, and learns to predict the next.
The last tenth of the text is held out, to measure the model on text that it has not seen.""",
    examples="""\
  minillm train gpt --out runs/gpt --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train gpt shakespeare.txt --out runs/shakespeare --layers 6 --width 192 --heads 6
        on a text of your own, over characters
  minillm train gpt python-source --out runs/source --context 256 --batch 16
        on the source of Python's standard library
  minillm tokenize big.txt --out corpus --tokenizer runs/tokenizer
  minillm train gpt corpus --out runs/big --minutes 600
        on a text larger than memory
  minillm train gpt my_text.txt --init runs/gpt --out runs/adapted
        from one text to another, with the tokenizer of the first

then: minillm generate DIR, minillm eval DIR, minillm plot attention DIR "a text\"""",
    run=CausalRun,
    model=GPT,
    config=GPTConfig,
    imported=imported,
    settings=causal_settings(
        config=GPTConfig,
        sizes="layers heads width context dropout",
    ),
)

llama_kind = partial(
    causal_kind,
    run=AnsweringRun,
    eval_options=(*TEXT_OPTIONS, "pattern"),
    begin=begin_with_adamw,
    imported=imported_llama,
)
LLAMA_SIZES = "layers heads key_heads width feed_forward context"
llama_settings = partial(
    causal_settings,
    key_heads={"default_help": "N"},
    feed_forward={"default_help": "8/3 D", "rare": True},
    optimiser=MUON,
)

LLAMA = llama_kind(
    name="llama",
    description="""\
Train a Llama, the GPT of today: RMS norms, rotary positions, gated feed-forward layers, queries
that may share keys, and no biases. It learns from the same texts as a GPT, as `train gpt` does.""",
    examples="""\
  minillm train llama --out runs/llama --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train llama shakespeare.txt --out runs/shakespeare --heads 8 --key-heads 2
        on a text of your own, over characters, with a cache of a quarter of the size
  minillm train llama my_text.txt --init runs/llama --out runs/adapted
        from one text to another, with the tokenizer of the first

then: minillm generate DIR, minillm eval DIR, minillm plot attention DIR "a text\"""",
    model=Llama,
    config=LlamaConfig,
    settings=llama_settings(config=LlamaConfig, sizes=LLAMA_SIZES),
)

NGRAMS = 4  # characters of the longest n-gram with a vector of its own; short texts overfit with 6


def complete_decoder(training: Training, given: Given) -> Any:
    """The settings with a learning rate, and with n-grams for a fresh model of characters."""
    settings = rate_by_width(RATE)(training, given)
    is_fresh = training.initial is None
    if settings.ngrams is None and settings.unit == "character" and is_fresh:
        return replace(settings, ngrams=NGRAMS)
    return replace(settings, ngrams=None) if settings.ngrams == 1 else settings


DECODER = llama_kind(
    name="decoder",
    description="""\
Train a decoder after Llama: Mistral, Qwen, SmolLM, Gemma or Phi. A family changes two
or three things: biases, norms of queries and keys, windows, layers without rotation, four norms,
scaled embeddings, a gated GELU. Most such models are imported, and fine-tuned. It learns from the
same texts as a GPT, as `train gpt` does.""",
    examples="""\
  minillm import Qwen3-0.6B-Q4_K_M.gguf --out runs/qwen
        then: minillm chat runs/qwen, minillm finetune runs/qwen chats.jsonl --out runs/mine
  minillm train decoder --family qwen3 --out runs/small --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train decoder shakespeare.txt --family gemma3 --window 64 --out runs/shakespeare
        on a text of your own: five of six layers see the last 64 tokens

then: minillm generate DIR, minillm eval DIR, minillm export DIR --format gguf""",
    model=Decoder,
    config=DecoderConfig,
    complete=complete_decoder,
    settings=llama_settings(
        config=DecoderConfig,
        sizes=f"{LLAMA_SIZES} family window sinks ngrams",
        family={"help": "the family whose changes it has", "choices": tuple(FAMILIES)},
        window={"default_help": "all before it"},
        ngrams={"default_help": f"{NGRAMS} of characters, otherwise 1"},
    ),
)
