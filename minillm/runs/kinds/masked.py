"""The shared parts of Transformers that fill gaps: masked tokens, and vectors of texts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.data.masking import MaskedBatch, Masking, Passages, framed, passages_once
from minillm.data.sequences import batches_in_order
from minillm.data.windows import Ids
from minillm.errors import InputError, short
from minillm.formats.sentences import Sentences
from minillm.layers.stack import forgetful
from minillm.look.measurements import attention_weights, read_hidden
from minillm.look.trace import MOST, AttentionWeights, Trace
from minillm.metrics import bits, frequency_loss, perplexity
from minillm.models.bert import BERT, BERTConfig
from minillm.models.encoders import FAMILIES, Encoder, EncoderConfig
from minillm.option import with_default
from minillm.runs.kind import EvalData, Kind, Results, Training
from minillm.runs.kinds.language import rate_by_width
from minillm.runs.kinds.texts import (
    evaluation_ids,
    open_text,
    text_ids,
    trace_of,
)
from minillm.runs.load import run_of
from minillm.runs.run import Run
from minillm.runs.settings import (
    OF_TEXTS,
    EvalOptions,
    LoRASettings,
    ShardSettings,
    TokenizerSettings,
    TrainingSettings,
    VocabularySettings,
    by_default,
    config_from,
    settings,
)
from minillm.text import PublishedTokenizer, Vocabulary, WordPieces, vocabulary_from_dict
from minillm.training.language_model import stretches
from minillm.training.masked import MaskedTask, evaluate_filling

COUNTED = 10_000_000  # tokens of the training text whose frequencies are a baseline
ROWS = 32  # passages in a batch, without training
MASKS = 0  # seed of the hidden tokens in validation

TOKENS = 1024  # in a batch: few enough to stay in the processor's cache
PADDING = 40  # tokens that take as long as starting a batch
TINY = 1e-12  # shorter vectors are not normalised


@dataclass(frozen=True)
class PiecesSettings(ShardSettings, TokenizerSettings):
    """Settings of a text in pieces of words."""

    unit: ClassVar[str] = "wordpiece"
    split_into: ClassVar[str] = "wordpiece"
    minimum_count: ClassVar[int] = 1

    tokenizer: str | None = with_default(
        TokenizerSettings,
        "tokenizer",
        None,
        help="use the wordpieces of a tokenizer's folder or file, or of another run",
    )
    vocabulary: int = with_default(
        VocabularySettings, "vocabulary", 4000, help="learn N tokens, pieces of words", least=16
    )


class MaskedRun(Run):
    """A run of a model that sees the whole text, and may predict masked tokens."""

    tokenizer: Vocabulary

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """The accuracy and the nats of the hidden tokens."""
        check_head(self)
        name, ids = evaluation_ids(self, data)
        nats, accuracy, hidden = evaluate_filling(self.model, self.hidden(ids))
        return {
            "text": name,
            "unit": self.tokenizer.unit,
            "tokens": len(ids),
            "masked_tokens": hidden,
            "masked_accuracy": accuracy,
            "nats_per_masked_token": nats,
            "bits_per_masked_token": bits(nats),
            "perplexity": perplexity(nats),
        }

    def hidden(self, ids: Ids) -> Iterator[MaskedBatch]:
        """A text in passages of the context, some of whose tokens are hidden."""
        return hidden_passages(ids, self.config.context, self.tokenizer)

    def fill(self, texts: str | Sequence[str], top: int = 5) -> Any:
        """For each [MASK] in a text the ``top`` most probable tokens and probabilities.

        Each [MASK] is filled in independently.

        >>> minillm.load("runs/bert").fill("the [MASK] statement")  # doctest: +SKIP
        """
        if not isinstance(texts, str):
            return [self.fill(text, top) for text in texts]
        check_head(self)
        tokenizer, most = self.tokenizer, self.config.context - 2
        cls, sep, mask = frame_of(tokenizer)
        ids = tokenizer.encode(texts, "TEXT")
        if len(ids) > most:
            raise InputError(f"TEXT: expected at most {most} tokens, found {len(ids)}")
        if mask not in ids:
            shown = tokenizer.show(mask)
            raise InputError(
                f"TEXT: expected {shown} where a word is missing, found {short(texts)}"
            )
        read = framed([[ids]], cls, sep)
        places = read.ids == mask
        logits = self.model.fill(MaskedBatch(*read[:3], places, read.ids[places]))
        logits[:, tokenizer.special_ids] = -np.inf
        logits[:, len(tokenizer) :] = -np.inf
        probabilities, _ = ops.softmax(logits)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        return [
            [(tokenizer.show(int(token)), float(row[token])) for token in ranked]
            for row, ranked in zip(probabilities, best, strict=True)
        ]

    def trace(self, text: str) -> Trace:
        """The arrays that ``look`` shows of a text: each token is predicted while it is hidden."""
        tokenizer = self.tokenizer
        cls, sep, mask = frame_of(tokenizer)
        _, inner, notes = text_ids(tokenizer, text, min(self.config.context - 2, MOST))
        ids = framed([[inner]], cls, sep).ids[0]
        logits, gradient = read_hidden(self.model, ids, mask)
        weights = attention_weights(self.model, ids[None])[:, 0]
        unknown = (ids == mask) | np.isnan(logits).any(axis=1)
        gradient[unknown] = 0
        np.fill_diagonal(gradient, 0)  # [MASK] is not of the text
        if not self.config.masked_words:
            notes.append("the model has no head for masked words, so nothing is predicted")
        return trace_of(
            self,
            tokenizer,
            ids,
            ids=np.where(unknown, -1, ids),
            logits=np.concatenate([logits, np.full_like(logits[:1], np.nan)]),
            hidden=True,
            gradient=gradient,
            attention=[AttentionWeights("self-attention", "text", "text", weights)],
            notes=notes,
        )

    def embed(self, texts: str | Sequence[str | Ids], pooling: str | None = None) -> NDArray:
        """The vector of one text, (D,), or of each of a list, (n, D).

        A text in a list may be given as the ids of its tokens, (T,).

        pooling: the "mean" of the tokens' vectors, the "first" one, of [CLS], or the "max" of
        each feature; None: as a sentence encoder's files say, otherwise the mean.  Only the
        beginning of a text is read if it is longer than the model's context, or than the limit in
        those files.
        """
        if isinstance(texts, str):
            return self.embed([texts], pooling)[0]
        if pooling not in (None, *OF_TEXTS):
            raise InputError(f"expected one of {', '.join(OF_TEXTS)}; found {pooling!r}", "pooling")
        model, stated, (cls, sep, _) = self.model, Sentences.of(self.data), frame_of(self.tokenizer)
        pooling = pooling or stated.pooling or "mean"
        most = min(model.config.context, stated.longest or model.config.context) - 2
        encode = self.tokenizer.encode
        rows = [
            (encode(text, f"text {number}") if isinstance(text, str) else text)[:most]
            for number, text in enumerate(texts, start=1)
        ]
        vectors = np.zeros((len(rows), model.config.width), model.dtype)
        lengths = np.array([len(row) + 2 for row in rows], np.int64)
        order = np.argsort(-lengths, kind="stable")
        for chosen in batches_in_order(order, lengths, tokens=TOKENS, padding=PADDING):
            batch = framed([[rows[row]] for row in chosen], cls, sep)
            x, _ = forgetful(model).hidden(batch.ids, batch.lengths, batch.segments)  # (B, T, D)
            if pooling == "first":
                vectors[chosen] = x[:, 0]
            else:
                pool = ops.mean_pool if pooling == "mean" else ops.max_pool
                vectors[chosen] = pool(x, batch.lengths)[0]
        if stated.normalised:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), TINY)
        return vectors


def masking_of(tokenizer: Vocabulary) -> Masking:
    """A mask of the tokens that may be hidden: all but the special ones."""
    ordinary = np.ones(len(tokenizer), bool)
    ordinary[tokenizer.special_ids] = False
    return Masking(frame_of(tokenizer)[2], ordinary)


def hidden_passages(ids: Ids, context: int, tokenizer: Vocabulary) -> Iterator[MaskedBatch]:
    """A text in consecutive passages; the hidden tokens are always the same."""
    rng, (cls, sep, _) = np.random.default_rng(MASKS), frame_of(tokenizer)
    masking = masking_of(tokenizer)
    for texts in passages_once(ids, ROWS, context, cls, sep):
        yield masking.hide(texts, rng)


def check_head(run: Run) -> None:
    """InputError for a model that was imported without its head for masked words."""
    if not run.config.masked_words:
        raise InputError(f"{run.path}: this model was imported without its head for masked words")


# --- the special tokens that an encoder needs: for BERT [CLS], [SEP], [MASK] ---------------------


def framing_vocabulary(values: Mapping[str, object]) -> Vocabulary:
    """A vocabulary with the special tokens; ValueError for any other."""
    tokenizer = vocabulary_from_dict(values)
    with_frame(tokenizer, "vocabulary.json", ValueError)
    return tokenizer


def with_frame(
    tokenizer: Vocabulary, source: str, error: type[Exception] = InputError
) -> Vocabulary:
    """The vocabulary.  An error, with its ``source``, if it lacks the special tokens."""
    tokens = tokenizer.bos, tokenizer.eos, tokenizer.mask
    if not isinstance(tokenizer, WordPieces | PublishedTokenizer) or None in tokens:
        raise error(
            f"{source}: expected a vocabulary with [CLS], [SEP] and [MASK], "
            f"found one of unit {tokenizer.unit}"
        )
    return tokenizer


def frame_of(tokenizer: Vocabulary) -> tuple[int, int, int]:
    """The ids of [CLS], which opens a text, [SEP], which closes it, and [MASK]."""
    return tokenizer.bos, tokenizer.eos, tokenizer.mask  # type: ignore[return-value]


# --- training --------------------------------------------------------------------------------


def prepare(training: Training) -> None:
    """Hold out the last tenth of the text; the pieces are learned from the rest."""
    settings, kind, data = training.settings, training.kind, training.data
    initial = training.initial.config if training.initial else None
    head = {"masked_words": True}
    config_from(settings, kind.config, initial, vocabulary=2, **head)  # before the data
    tokenizer, ids, validation = open_text(training)
    cls, sep, _ = frame_of(
        with_frame(tokenizer, data.get("init") or data.get("tokenizer") or "its text")
    )
    if len(ids) <= settings.context:
        expected = f"less than the {len(ids):,} tokens of the training text"
        raise InputError(f"expected {expected}, found {settings.context}", "context")
    rows = len(tokenizer) if initial is None else initial.vocabulary
    config = config_from(settings, kind.config, initial, vocabulary=rows, **head)
    model, batch, context = kind.model(config, training.rng), settings.batch, settings.context
    passages = Passages(ids, batch, context, cls, sep, seed=settings.seed)
    held_out = stretches(validation, settings.validation_tokens)
    fixed = list(hidden_passages(held_out, context, tokenizer))
    targets = np.concatenate([batch.targets for batch in fixed])

    training.model, training.vocabularies = model, {"tokenizer": tokenizer}
    training.task = MaskedTask(model, passages, masking_of(tokenizer), fixed)
    training.unit, training.item = "masked token", "token"
    training.baseline = frequency_loss(ids[:COUNTED], targets)


# --- the kinds -------------------------------------------------------------------------------


masked_kind = partial(
    Kind,
    run=MaskedRun,
    prepare=prepare,
    complete=rate_by_width(0.15),
    takes=("text",),
    padded=True,
    open_vocabulary=framing_vocabulary,
    imported=lambda kind, contents, file: run_of(kind, contents, file, info=contents.facts),
)
masked_settings = partial(
    settings,
    PiecesSettings,
    TrainingSettings,
    LoRASettings,
    context={"help": "how many tokens the model sees, with [CLS] and [SEP]", "least": 8},
    learning_rate=by_default("0.15 / width; with --init 0.3 of it"),
    warmup=0.1,
    batch=32,
    beta2=0.99,
)
SIZES = "layers heads width context dropout"

BERT_KIND = masked_kind(
    name="bert",
    description="""\
Train a BERT: some tokens of each passage are hidden, and it learns to predict them from all others.
Its vectors can then be used to compare or classify texts.  Tokens are pieces of words.  The last
tenth of the text is held out, to measure the model on it.""",
    examples="""\
  minillm train bert --out runs/bert --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train bert my_text.txt --out runs/mine --vocabulary 8000 --width 256
  minillm train bert my_text.txt --init runs/bert --out runs/adapted
        from one text to another, with the tokenizer of the first

then: minillm fill DIR "the [MASK] statement", minillm embed DIR < lines.txt,
      minillm similar DIR "a sentence" --among lines.txt, minillm eval DIR""",
    model=BERT,
    config=BERTConfig,
    settings=masked_settings(
        config=BERTConfig,
        sizes=SIZES,
    ),
)

ENCODER = masked_kind(
    name="encoder",
    description="""\
Train an encoder in the form of DistilBERT, RoBERTa or MPNet, which change a BERT's embeddings or
its attention. Most such models are imported, ELECTRA too; then they embed texts, or are fine-tuned.
It learns from the same texts as a BERT, as `train bert` does.""",
    examples="""\
  minillm import distilroberta-base --out runs/roberta
  minillm train encoder my_text.txt --init runs/roberta --out runs/adapted
  minillm train encoder --family mpnet --out runs/small --minutes 5

then: minillm fill DIR "the <mask> statement", minillm embed DIR < lines.txt, minillm eval DIR""",
    model=Encoder,
    config=EncoderConfig,
    settings=masked_settings(
        config=EncoderConfig,
        sizes=f"{SIZES} family",
        family={"help": "the family whose changes it has", "choices": tuple(FAMILIES)},
    ),
)
