"""Networks that predict the next token of a text: training, adapting, writing and measuring.

Some read on from a state (recurrent ones, Mamba, and by windows the neural n-gram); Transformers
(GPT, Llama and the decoders after it) read a context, and may answer and summarise.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from minillm.data import RandomWindows
from minillm.data.conversations import Conversation, form_of, read_conversations
from minillm.data.windows import Ids
from minillm.decoding import Chat, Sampling
from minillm.decoding.summaries import Length, summaries
from minillm.errors import InputError
from minillm.formats.format import Contents
from minillm.look.measurements import read_gpt, read_on, read_recurrent
from minillm.look.trace import MOST, Trace
from minillm.metrics import frequency_loss, perplexity
from minillm.models.decoders import FAMILIES, Decoder, DecoderConfig
from minillm.models.gated_convolution import GatedConvolution, GatedConvolutionConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.option import check_names, types_of
from minillm.runs.kind import (
    FINE_TUNING_RATE_FACTOR,
    EvalData,
    Given,
    Kind,
    Results,
    Training,
    begin_with_same,
)
from minillm.runs.kinds.ngram import (
    MixtureReader,
    WritingRun,
    best_ngram,
    results_beside,
    trace_beside,
)
from minillm.runs.kinds.texts import (
    TextOfRun,
    evaluation_ids,
    figures_of,
    inside_by,
    open_text,
    results_on,
    text_ids,
    trace_of,
)
from minillm.runs.load import run_of
from minillm.runs.run import Run, Summarises
from minillm.runs.settings import (
    MUON,
    EvalOptions,
    LoRASettings,
    ShardSettings,
    TextSettings,
    TrainingSettings,
    WindowSettings,
    by_default,
    config_from,
    settings,
)
from minillm.text import ChatTemplate, unit_name
from minillm.text.byte_tokens import ByteTokens
from minillm.text.chat_template import KNOWN, Message
from minillm.training import Summary
from minillm.training.conversations import Encoded, in_batches, mean_loss
from minillm.training.dynamic_evaluation import Adapted, adapt
from minillm.training.language_model import LanguageModelTask, WindowTask, token_losses
from minillm.training.packed import Packed

COUNTED = 10_000_000  # tokens of the training text whose frequencies are a baseline
TOKENS = 2048  # of conversations that are read at a time
LENGTH = 256  # tokens of an answer that is to match
SHOWN = {"character": 240, "word": 60}  # tokens of a sample by unit; otherwise 100


class TextRun(WritingRun):
    """A run of a network that was trained on windows of a text."""

    def adapted(self, ids: Ids) -> Adapted:
        """A copy of the model that has learned a text: see :func:`adapt`."""
        if self.is_quantised:
            raise InputError(
                "expected weights in floats, found quantised ones: see minillm quantise", "adapt"
            )
        return adapt(self.model, ids, quiet=False)

    def losses_on(self, ids: Ids) -> NDArray[np.float64]:
        """The loss of each token after the first, in nats; a few at the end may be missing."""
        window = self.settings.window if hasattr(self.model, "zero_state") else None
        return token_losses(self.model, ids, self.settings.batch, window)

    def losses_after(self, ids: Ids) -> NDArray[np.float64]:
        """The loss of each token after the first, in nats: ids (T,) -> (T - 1,)."""
        return token_losses(self.model, ids, 1, len(ids) - 1)

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """Nats and bits per token, per byte and per character, and perplexity."""
        name, ids = evaluation_ids(self, data)
        losses = self.losses_on(ids)
        results = results_on(name, self.tokenizer, ids, float(losses.mean()), len(losses))
        if options.beside:
            results |= results_beside(self, ids)
        if options.adapt:
            losses = self.adapted(ids).losses
            nats, tokens = float(losses.mean()), len(losses)
            results |= figures_of("adapted", self.tokenizer, ids, nats, tokens)
        if options.mix:
            results |= MixtureReader(self).results(ids, losses)
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

    def summaries_within(
        self,
        length: Length,
        texts: Sequence[str],
        places: Sequence[str],
        report: Callable[[str], None],
        search: Mapping[str, object],
    ) -> Iterator[str | InputError]:
        """The answers of the model when it is asked for summaries."""
        for name in search:
            raise InputError(
                f"expected a run that was trained on pairs, found one of {self.kind.name}", name
            )
        if self.chat_template is None:
            raise InputError(f"{self.path}: expected a run with a chat template, found none")
        return summaries(self.answering, texts, places, length, report)

    # --- conversations ---

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """Figures on a text or on conversations, as the file has it."""
        pattern = compiled(options.pattern)
        if data.files and all(map(form_of, data.files)):
            require_text(options, f"a text, found {data.title}: conversations")
            items = [*read_conversations(*data.files)]
            return {"data": data.title} | self.on_conversations(items, pattern)
        if pattern is not None:
            raise InputError("expected a FILE of conversations with it", "pattern")
        return super().measure(data, options)

    def on_conversations(
        self, items: Sequence[Conversation], pattern: re.Pattern[str] | None = None
    ) -> Results:
        """The mean loss over the tokens of known answers, in nats; and answers that match.

        With a pattern, the model writes its most probable answer, and its last match of the pattern
        is compared with the known one: of arithmetic, for example, the last number.
        """
        chats = [item for item in items if item.rejected is None]
        template, context = self.answering.template, self.model.config.context
        messages, places = [chat.messages for chat in chats], [chat.place for chat in chats]
        tokenizer = cast(ByteTokens, self.tokenizer)
        encoded = template.encode_answers(tokenizer, messages, context, places)
        fitting = [Encoded(ids, counted) for ids, counted, _ in encoded if len(ids)]
        if not fitting:
            raise InputError(f"expected a conversation of at most {context} tokens, found none")
        nats, tokens = mean_loss(Packed(self.model), in_batches(fitting, TOKENS))
        results: Results = {
            "conversations": len(fitting),
            "tokens": tokens,
            "nats_per_token": nats,
            "perplexity": perplexity(nats),
        }
        if pattern is None:
            return results
        hits = []
        for chat in chats:
            question, known = chat.last_answer
            if not question:
                raise InputError(
                    f"{chat.place}: expected a question before the last answer, found none"
                )
            written = "".join(self.answering.answer(question, LENGTH, Sampling(temperature=0)))
            hits.append(last_match(pattern, written) == last_match(pattern, known))
        return results | {"exact_match": float(np.mean(hits))}


def require_text(options: EvalOptions, expected: str) -> None:
    """InputError if there is an option for texts alone; ``expected`` ends its message."""
    for name in ("adapt", "mix"):
        if getattr(options, name):
            raise InputError(f"expected {expected}", name)


def compiled(pattern: str | None) -> re.Pattern[str] | None:
    """The regular expression; InputError for a pattern that is none."""
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise InputError(f"expected a regular expression: {error}", "pattern") from None


def last_match(pattern: re.Pattern[str], text: str) -> str | None:
    """The last match of a pattern, or of its first group; None if there is none."""
    found = [match[1] if pattern.groups else match[0] for match in pattern.finditer(text)]
    return found[-1].strip() if found else None


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


def reads_context(training: Training, text: TextOfRun) -> WindowTask:
    """The training on passages of the length of the context, which do not read on."""
    settings, model = training.settings, training.model
    batch, most = settings.batch, settings.validation_tokens
    windows = RandomWindows(text.training, batch, settings.context, settings.seed)
    return WindowTask(model, windows, text.validation, batch, most)


def closing(training: Training, summary: Summary) -> Iterator[str]:
    """Yield the loss of the best n-gram of the training text."""
    if not summary.interrupted:
        task, tokenizer = training.task, training.vocabularies["tokenizer"]
        _, best = best_ngram(task.batches.ids, task.validation_ids, tokenizer)
        training.folder.append_metrics(
            {"step": summary.step, "ngram_loss": best.nats, "ngram_order": best.order}
        )
        yield best.describe(training.unit)


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


# --- models that read on --------------------------------------------------------------------

TEXT_OPTIONS = ("beside", "adapt", "mix")  # of eval
text_kind = partial(
    Kind,
    run=TextRun,
    prepare=partial(prepare, task_of=reads_on),
    closing=closing,
    takes=("text",),
    eval_options=TEXT_OPTIONS,
)
HELD_OUT = "The last tenth of the text is held out, to measure the model on it."
ADAPT = """
  minillm train {0} my_text.txt --init runs/{0} --out runs/adapted
        from one text to another, with the tokenizer of the first"""
THEN = """

then: minillm generate DIR, minillm eval DIR, minillm look DIR "a text\""""

RATE = 0.4  # the learning rate of a stack of width 1

NEURAL_NGRAM = text_kind(
    name="neural-ngram",
    description=f"""\
Train the neural n-gram model of Bengio et al. (2003): it sees as many tokens as an n-gram model,
but learns their similarities. {HELD_OUT}""",
    examples=f"""\
  minillm train neural-ngram --out runs/bengio --minutes 2
  minillm train neural-ngram text.txt --out runs/words --unit word --order 5 --hidden 60{THEN}""",
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
    description=f"""\
Train a recurrent language model: it reads a text and learns to predict what comes next.
{HELD_OUT}""",
    examples=f"""\
  minillm train lm --out runs/lm --minutes 2
        on the Python language reference, which ships with every CPython
  minillm train lm a.txt b.txt --out runs/words --unit word --hidden 256 --dropout 0.3
        words instead of characters, those seen only once as one unknown word
  minillm train lm --out runs/lm --resume --minutes 10
        continue to 10 minutes in all, also after Ctrl-C{ADAPT.format("lm")}{THEN}""",
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

CONVOLUTION = text_kind(
    name="convolution",
    description=f"""\
Train a language model of gated convolutions: each layer looks a few tokens further back, and all
positions are computed at once.
{HELD_OUT}""",
    examples=f"""\
  minillm train convolution --out runs/convolution --minutes 5
  minillm train convolution text.txt --out runs/deep --layers 10 --convolution 3{THEN}""",
    model=GatedConvolution,
    config=GatedConvolutionConfig,
    complete=rate_by_width(RATE),
    settings=settings(
        WindowSettings,
        TrainingSettings,
        config=GatedConvolutionConfig,
        sizes="layers width convolution dropout",
        convolution={"help": "tokens that a layer sees", "rare": False},
        learning_rate=by_default(f"{RATE} / width; with --init 0.3 of it"),
        batch=16,
    ),
)

MAMBA_RATE = 1.3  # the learning rate of a model of width 1, with Muon

MAMBA = text_kind(
    name="mamba",
    description=f"""\
Train a Mamba: a recurrent language model whose gates do not read its state, so that the products
of a whole window are computed at once.
{HELD_OUT}""",
    examples=f"""\
  minillm train mamba --out runs/mamba --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train mamba shakespeare.txt --out runs/shakespeare --layers 6 --width 192
{ADAPT.format("mamba")[1:]}{THEN}""",
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

# --- Transformers ----------------------------------------------------------------------------

causal_kind = partial(
    text_kind,
    run=CausalRun,
    prepare=partial(prepare, task_of=reads_context),
    complete=rate_by_width(RATE),
    imported=imported,
    padded=True,
    eval_options=(*TEXT_OPTIONS, "pattern"),
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
    description=f"""\
Train a GPT: it reads a text, attends to all tokens before each, and learns to predict the next.
{HELD_OUT}""",
    examples=f"""\
  minillm train gpt --out runs/gpt --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train gpt shakespeare.txt --out runs/shakespeare --layers 6 --width 192 --heads 6
  minillm tokenize big.txt --out corpus --tokenizer runs/tokenizer
  minillm train gpt corpus --out runs/big --minutes 600
        on a text larger than memory{ADAPT.format("gpt")}{THEN}""",
    model=GPT,
    config=GPTConfig,
    settings=causal_settings(
        config=GPTConfig,
        sizes="layers heads width context dropout",
    ),
)

llama_kind = partial(causal_kind, begin=begin_with_adamw)
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
    examples=f"""\
  minillm train llama --out runs/llama --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train llama shakespeare.txt --out runs/shakespeare --heads 8 --key-heads 2
        with a cache of a quarter of the size{ADAPT.format("llama")}{THEN}""",
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
Train a decoder after Llama: Mistral, Qwen, SmolLM, Gemma or Phi. A family changes two or three
things, such as biases, norms of queries and keys, or windows. Most such models are imported, and
fine-tuned. It learns from the same texts as a GPT, as `train gpt` does.""",
    examples=f"""\
  minillm import Qwen3-0.6B-Q4_K_M.gguf --out runs/qwen
        then: minillm chat runs/qwen, minillm finetune runs/qwen chats.jsonl --out runs/mine
  minillm train decoder --family qwen3 --out runs/small --minutes 5
  minillm train decoder shakespeare.txt --family gemma3 --window 64 --out runs/shakespeare
        five of six layers see the last 64 tokens{THEN}""",
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
