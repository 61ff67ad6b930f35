"""Answers to questions, found in a text (2017)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minillm import metrics, ops
from minillm.data import Minibatches, registry
from minillm.data.context_windows import targets_of, text_span, windows_of
from minillm.data.splits import Split
from minillm.data.squad import Question, read_squad
from minillm.decoding.spans import find_spans
from minillm.errors import InputError
from minillm.models.bert import BERTConfig
from minillm.models.question_answering import Reader, ReaderConfig
from minillm.option import option
from minillm.runs.kind import Data, Given, Job, Kind, Parts, Results
from minillm.runs.kinds._text_data import framing_vocabulary, vocabulary_for, with_frame
from minillm.runs.run import Answered, Run
from minillm.runs.settings import (
    Evaluation,
    Facts,
    LoRASettings,
    TokenizerSettings,
    TrainingSettings,
    VocabularySettings,
    config_from,
    of_data,
    of_text,
    of_validation,
    size,
    with_default,
)
from minillm.text import build_vocabulary
from minillm.training import Summary
from minillm.training.minibatches import SpanTask, fingerprint

CANDIDATES = 20  # spans among which the probability is divided
SHOWN = 5  # questions of a sample

# Learning rates: with attention flow; of a BERT of width 1, and of the updates of LoRA to it.
RATE, BERT_RATE, LORA_RATE = 0.002, 0.04, 0.15


@dataclass(frozen=True)
class QuestionAnsweringSettings(TokenizerSettings, TrainingSettings, LoRASettings):
    """The settings of a reader."""

    data: str | None = of_data(
        "a JSON file in the format of SQuAD, version 1.1 or 2.0", metavar="FILE"
    )
    validation: str | None = of_validation(
        "a file to measure on (default: the questions about every tenth context)", "FILE"
    )
    tokenizer: str | None = with_default(
        TokenizerSettings,
        "tokenizer",
        None,
        help="use the wordpieces of a tokenizer's folder or file, or of another run",
    )
    vocabulary: int = with_default(
        VocabularySettings, "vocabulary", 4000, help="learn N tokens, pieces of words", least=7
    )
    stride: int = of_text(
        128, "read a window every N tokens of a long context", "N", least=1, most=1 << 20, rare=True
    )
    longest_answer: int = of_text(
        64, "an answer has at most N tokens", "N", least=1, most=10_000, rare=True
    )
    width: int = size(
        ReaderConfig,
        "width",
        "width of a token's vector; a recurrence has half of it in each direction",
        least=2,
    )
    layers: int = size(ReaderConfig, "layers", "recurrent layers after the attention flow")
    context: int = size(
        ReaderConfig,
        "context",
        "how many tokens the model reads at once: the question, the context and three more",
        least=8,
    )
    dropout: float = size(ReaderConfig, "dropout", default_help="0.2, with --init 0.1")
    learning_rate: float = with_default(
        TrainingSettings, "learning_rate", RATE, default_help="0.002; with --init BERT 0.04 / width"
    )
    warmup: float = 0.1


@dataclass(frozen=True, kw_only=True)
class QuestionFacts(Facts):
    """Facts about the questions."""

    unanswered: bool = option(False, "some of its questions have no answer in their contexts")


class QuestionAnsweringKind(Kind):
    """A reader that finds the answer to a question in a text."""

    name = "qa"
    description = """\
Train a reader: it predicts where the answer to a question begins and ends in a text.  It learns
from questions in the format of SQuAD.  Each answer is a part of the text, or marked as missing.
With --init, a pre-trained bert is fine-tuned."""
    examples = """\
  minillm train qa questions.json --out runs/qa
  minillm train qa train-v2.0.json --validation dev-v2.0.json --out runs/squad --minutes 120
  minillm train qa train-v1.1.json --init runs/bert --out runs/squad2 --minutes 60

then: minillm answer DIR --context FILE "What is ...?", minillm eval DIR [FILE]"""
    padded = True
    open_vocabulary = staticmethod(framing_vocabulary)
    model = Reader
    config = ReaderConfig
    settings = QuestionAnsweringSettings
    facts = QuestionFacts

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The sizes of a BERT, or of another reader, and the rates of fine-tuning."""
        if initial.kind.name not in ("bert", self.name):
            raise InputError(
                f"expected a run of bert or {self.name}, found one of {initial.kind.name} "
                f"in {initial.path}",
                "init",
            )
        config = initial.model.config
        if getattr(config, "segments", 2) != 2:
            raise InputError(f"{initial.path}: expected 2 segments, found {config.segments}")
        sizes = {name: getattr(config, name) for name in ("width", "layers", "context")}
        if _encoder_of(config)["encoder"] == "recurrent":
            return sizes
        rate = LORA_RATE if given.get("lora_rank") else BERT_RATE
        return sizes | {"dropout": 0.1, "learning_rate": rate / config.width}

    def prepare(self, job: Job, rng: np.random.Generator) -> Parts:
        """The pieces of the questions, and windows for training and validation."""
        settings, data = job.settings, job.data
        encoder = _encoder_of(job.initial.model.config) if job.initial else {}
        config_from(settings, ReaderConfig, vocabulary=2, **encoder)  # before the data are read
        opened = open_data(data)
        parts = {part: opened[part] for part in ("training", "validation")}
        texts = texts_of(parts["training"])
        tokenizer = vocabulary_for(
            job,
            "wordpiece",
            lambda: build_vocabulary(texts, "wordpiece", 1, settings.vocabulary),
        )
        with_frame(tokenizer, data.get("init") or data.get("tokenizer") or "its text")
        rows = job.initial.model.config.vocabulary if job.initial else len(tokenizer)
        config = config_from(settings, ReaderConfig, vocabulary=rows, **encoder)
        columns, notes = [], []
        for part, questions in parts.items():
            windows = windows_of(questions, tokenizer, config.context, settings.stride)
            first, last = targets_of(windows, questions)
            columns.append((windows.questions, windows.contexts, first, last))
            count = f" in {len(first):,} windows" if len(first) > len(questions) else ""
            notes.append(f"{len(questions):,} {part} questions{count}")
        job.record(fingerprint(columns[0]), name_of(data), "the data have")
        model = Reader(config, rng)
        batches = (Minibatches(column, settings.batch, settings.seed) for column in columns)
        return Parts(
            model=model,
            task=SpanTask(model, *batches),
            unit="question",
            vocabularies={"tokenizer": tokenizer},
            notes=notes,
            baseline=float(np.log(columns[1][1].lengths - 1).mean()),
            facts=QuestionFacts(unanswered=not all(q.answers for q in parts["training"])),
        )

    def closing(self, job: Job, parts: Parts, summary: Summary) -> Iterator[str]:
        """Yield the share of answers with the correct first and last token."""
        task: Any = parts.task
        if task.measures:
            share = task.measures["exact_spans"]
            yield f"answers whose first and last token are right: {share:.1%}"

    def sample(self, run: Run) -> Iterator[str]:
        """Yield questions with the model's answers."""
        questions = open_data(run.data)["validation"]
        yield "sample:\n\n"
        for question in questions[:: max(1, len(questions) // SHOWN)][:SHOWN]:
            [[best]] = answers_to(run, [question], 1)
            yield f"{question.question}\n    {' '.join(best.text.split()) or 'no answer'}\n"

    def answers(
        self, run: Run, questions: Sequence[str], context: str, number: int
    ) -> list[list[Answered]]:
        """See :meth:`minillm.runs.run.Run.answers`."""
        named = enumerate(questions, start=1)
        return answers_to(run, [Question(f"{n}", text, context, ()) for n, text in named], number)

    def evaluate(self, run: Run, given: Given, options: Evaluation) -> Results:
        """Exact match and F1 in percent, also of counting shared words."""
        if given.files:
            name = given.title
            questions = [question for file in given.files for question in read_squad(file)]
        else:
            part = options.part or "validation"
            name = f"{name_of(run.data)}, {part}"
            questions = open_data(run.data)[part]
        references = [[answer.text for answer in question.answers] for question in questions]
        answers = [best.text for [best] in answers_to(run, questions, 1)]
        shared = [metrics.answer_of_shared_words(q.question, q.context) for q in questions]
        return {
            "data": name,
            "questions": len(questions),
            **metrics.measure_answers(answers, references),
            **metrics.measure_answers(shared, references, "shared_words_"),
        }


def _encoder_of(config: ReaderConfig | BERTConfig) -> dict[str, object]:
    """The sizes that only the encoder of a reader, or of a BERT, has."""
    encoder = getattr(config, "encoder", "bert")
    return {"encoder": encoder, "heads": config.heads, "inner": config.inner}


def name_of(data: Data) -> str:
    """The file of questions; InputError if there is none."""
    if not data.get("data"):
        raise InputError("FILE: expected a file of questions, found none")
    return data["data"]


def open_data(data: Data) -> Split[Question]:
    """The questions of the file."""
    return registry.open_data("questions", name_of(data), data.get("validation"))


def texts_of(questions: Sequence[Question]) -> Iterator[str]:
    """All contexts, each once, and all questions."""
    yield from dict.fromkeys(question.context for question in questions)
    for question in questions:
        yield question.question


def answers_to(run: Run, questions: Sequence[Question], number: int) -> list[list[Answered]]:
    """The best ``number`` answers to each question, the best first.

    The probabilities are a softmax over the scores of the best spans and, if the model was trained
    with unanswerable questions, of "no answer", whose score is 0.
    """
    settings, context = run.settings, run.model.config.context
    windows = windows_of(questions, run.tokenizer, context, settings.stride)
    spans = find_spans(run.model, windows, settings.longest_answer, max(number, CANDIDATES))
    answers = []
    for question, offsets, of_question in zip(questions, windows.offsets, spans, strict=True):
        scored: list[tuple[float, int | None, int | None]] = [
            (score, *text_span(question.context, offsets, *span)) for span, score in of_question
        ]
        if run.data.get("unanswered"):
            scored.append((0.0, None, None))
            scored.sort(key=lambda entry: -entry[0])
        probabilities, _ = ops.softmax(np.array([score for score, *_ in scored]))
        best = [
            Answered("" if start is None else question.context[start:end], float(p), start, end)
            for p, (_, start, end) in zip(probabilities, scored, strict=True)
        ]
        answers.append(best[:number])
    return answers
