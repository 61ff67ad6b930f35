"""Answers to questions, found in a text (2017)."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minillm import metrics, ops
from minillm.data import Minibatches
from minillm.data.context_windows import targets_of, text_span, windows_of
from minillm.data.squad import Question, read_squad
from minillm.decoding.spans import find_spans
from minillm.errors import InputError
from minillm.models.question_answering import Reader, ReaderConfig
from minillm.runs.kind import EvalData, Given, Kind, Results, Training, open_parts, sizes_of
from minillm.runs.kinds.masked import framing_vocabulary, with_frame
from minillm.runs.kinds.texts import vocabulary_for
from minillm.runs.run import Run
from minillm.runs.settings import (
    EvalOptions,
    LoRASettings,
    TokenizerSettings,
    TrainingSettings,
    config_from,
    of_data,
    of_text,
    of_validation,
    settings,
)
from minillm.training.minibatches import ClassificationTask, fingerprint

LONGEST_ANSWER = 64  # tokens
CANDIDATES = 20  # spans among which the probability is divided
SHOWN = 5  # questions of a sample

# Learning rates: with attention flow; of a BERT of width 1, and of the updates of LoRA to it.
RATE, BERT_RATE, LORA_RATE = 0.002, 0.04, 0.15


class Answered(NamedTuple):
    """An answer that is a part of a context: ``context[start:end]`` is ``text``.

    If the context has no answer, ``text`` is empty, and start and end are None.
    """

    text: str
    probability: float  # among the best candidates
    start: int | None
    end: int | None


class AnswerRun(Run):
    """A run that finds the answers to questions in a text."""

    def answer(self, questions: str | Sequence[str], context: str) -> Any:
        """The answer to each question, as a part of a context of any length.

        >>> run = minillm.load("runs/qa")  # doctest: +SKIP
        >>> run.answer("What is the default of end?", "say(end='.')")  # doctest: +SKIP
        """
        if isinstance(questions, str):
            return self.answer([questions], context)[0]
        return [best for [best] in self.answers(questions, context)]

    def answers(
        self, questions: Sequence[str], context: str, number: int = 1
    ) -> list[list[Answered]]:
        """The best ``number`` answers to each question about a context, best first."""
        named = enumerate(questions, start=1)
        return [*self.answers_to([Question(f"{n}", q, context, ()) for n, q in named], number)]

    def answers_to(self, questions: Sequence[Question], number: int) -> Iterator[list[Answered]]:
        """Yield the best ``number`` answers to each question, best first.

        The probabilities are a softmax over the scores of the best spans and, if the model was
        trained with unanswerable questions, of "no answer", whose score is 0.
        """
        windows = windows_of(questions, self.tokenizer, self.config.context, self.settings.stride)
        found = find_spans(self.model, windows, LONGEST_ANSWER, max(number, CANDIDATES))
        for question, offsets, spans in zip(questions, windows.offsets, found, strict=True):
            scored: list[tuple[Any, float]] = [*spans]
            if self.data.get("unanswered"):
                scored = sorted([*spans, (None, 0.0)], key=lambda entry: -entry[1])
            probabilities, _ = ops.softmax(np.array([score for _, score in scored]))
            answers = []
            for (span, _), p in zip(scored[:number], probabilities.tolist(), strict=False):
                if span is None:
                    answers.append(Answered("", p, None, None))
                else:
                    start, end = text_span(question.context, offsets, *span)
                    answers.append(Answered(question.context[start:end], p, start, end))
            yield answers

    def sample(self) -> Iterator[str]:
        """Yield questions with the model's answers."""
        questions = open_parts("questions", self.data)["validation"]
        shown = questions[:: max(1, len(questions) // SHOWN)][:SHOWN]
        yield "sample:\n\n"
        for question, [best] in zip(shown, self.answers_to(shown, 1), strict=True):
            yield f"{question.question}\n    {' '.join(best.text.split()) or 'no answer'}\n"

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """Exact match and F1 in percent."""
        own = partial(open_parts, "questions", self.data)
        name, questions = data.items(read_squad, options.part, own)
        references = [[answer.text for answer in question.answers] for question in questions]
        answers = [best.text for [best] in self.answers_to(questions, 1)]
        return {
            "data": name,
            "questions": len(questions),
            **metrics.measure_answers(answers, references),
        }


# --- training ------------------------------------------------------------------------------------


def begin_with_bert(kind: Kind, initial: Run, given: Given) -> dict[str, object]:
    """The sizes of a BERT, or of another reader, and the rates of fine-tuning."""
    if initial.kind.name not in ("bert", kind.name):
        raise InputError(
            f"expected a run of bert or {kind.name}, found one of {initial.kind.name} "
            f"in {initial.path}",
            "init",
        )
    config = initial.config
    if getattr(config, "segments", 2) != 2:
        raise InputError(f"{initial.path}: expected 2 segments, found {config.segments}")
    sizes = sizes_of(initial, kind.settings)
    if getattr(config, "encoder", "bert") == "recurrent":
        return sizes
    rate = LORA_RATE if given.get("lora_rank") else BERT_RATE
    return sizes | {"dropout": 0.1, "learning_rate": rate / config.width}


def prepare(training: Training) -> None:
    """The pieces of the questions, and windows for training and validation."""
    settings, data = training.settings, training.data
    opened = open_parts("questions", data)
    parts = {part: opened[part] for part in ("training", "validation")}
    questions = parts["training"]
    texts = [*dict.fromkeys(q.context for q in questions), *(q.question for q in questions)]
    tokenizer = vocabulary_for(training, "wordpiece", texts)
    with_frame(tokenizer, data.get("init") or data.get("tokenizer") or "its text")
    sizes: dict[str, object] = {"vocabulary": len(tokenizer)}
    if training.initial is not None:
        base = training.initial.config
        sizes = {"vocabulary": base.vocabulary, "heads": base.heads, "inner": base.inner}
        sizes["encoder"] = getattr(base, "encoder", "bert")
    config = config_from(settings, ReaderConfig, **sizes)
    columns = []
    for part, of_part in parts.items():
        windows = windows_of(of_part, tokenizer, config.context, settings.stride)
        places = np.stack(targets_of(windows, of_part), axis=1)
        columns.append((windows.questions, windows.contexts, places))
        count = f" in {len(places):,} windows" if len(places) > len(of_part) else ""
        training.notes.append(f"{len(of_part):,} {part} questions{count}")
    training.record(fingerprint(columns[0]), data["data"], "the data have")
    learned, held_out = (Minibatches(each, settings.batch, settings.seed) for each in columns)
    training.model = Reader(config, training.rng)
    training.task = ClassificationTask(training.model, learned, held_out, measure="exact_spans")
    training.unit = "question"
    training.vocabularies = {"tokenizer": tokenizer}
    training.baseline = float(np.log(columns[1][1].lengths - 1).mean())
    training.info["unanswered"] = not all(q.answers for q in questions)


QA = Kind(
    name="qa",
    description="""\
Train a reader: it predicts where the answer to a question begins and ends in a text.  It learns
from questions in the format of SQuAD.  Each answer is a part of the text, or marked as missing.
With --init, a pre-trained bert is fine-tuned.""",
    examples="""\
  minillm train qa questions.json --out runs/qa
  minillm train qa train-v2.0.json --validation dev-v2.0.json --out runs/squad --minutes 120
  minillm train qa train-v1.1.json --init runs/bert --out runs/squad2 --minutes 60

then: minillm answer DIR --context FILE "What is ...?", minillm eval DIR [FILE]""",
    run=AnswerRun,
    model=Reader,
    config=ReaderConfig,
    settings=settings(
        TokenizerSettings,
        TrainingSettings,
        LoRASettings,
        config=ReaderConfig,
        sizes="width layers context dropout",
        data=(str | None, of_data("a JSON file in SQuAD's format, 1.1 or 2.0", metavar="FILE")),
        validation=(
            str | None,
            of_validation("to measure on (default: every tenth context)", "FILE"),
        ),
        vocabulary=(int, of_text(4000, "learn N pieces of words", "N", least=7, most=10**6)),
        stride=(
            int,
            of_text(128, "read a window every N tokens", "N", least=1, most=10**6, rare=True),
        ),
        layers={"help": "recurrent layers after the attention flow"},
        context={"help": "tokens of the question, the context and three more", "least": 8},
        dropout={"default_help": "0.2, with --init 0.1"},
        learning_rate={"default": RATE, "default_help": "0.002; with --init BERT 0.04 / width"},
        warmup=0.1,
    ),
    eval_options=("part",),
    begin=begin_with_bert,
    prepare=prepare,
    padded=True,
    open_vocabulary=framing_vocabulary,
)
