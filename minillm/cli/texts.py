"""Texts, line by line: label, embed, answer, translate, summarise."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING
from json import dumps
from typing import Any

import numpy as np

from minillm.cli.arguments import Given, argument, given, run_argument
from minillm.cli.lines import chunks, print_answers, separately
from minillm.cli.process import say
from minillm.data import read_text
from minillm.data.files import STANDARD_INPUT, shown, write_file
from minillm.data.lines import read_lines
from minillm.decoding import Translation
from minillm.decoding.summaries import Length, extracted
from minillm.errors import InputError
from minillm.models.extractive import lead, textrank
from minillm.option import make, option
from minillm.runs.load import load
from minillm.runs.settings import OF_TEXTS, Search, search_options

TEXTS = argument("texts (default: the lines of standard input)", "TEXT", ())

METHODS = {"lead": lead, "textrank": textrank}  # summaries without a model


def classify(
    run_folder: str = run_argument("a run of a classifier"),
    texts: list[str] = TEXTS,
    json: bool = option(
        False, "print one JSON object a line, with the probabilities of all labels"
    ),
) -> int:
    """Label texts, line by line.

    Each line of output contains the label, its probability and the text, separated by tabs.  An
    empty line is also a text.  With a run of image-classifier, a line is an image: its pixels, 0 to
    1, separated by spaces.  The output of a line that cannot be read is an empty line, or null with
    --json.

    examples:
      minillm classify runs/reviews "a fine film" "the worst of the year"
      minillm classify runs/reviews < texts.txt
      minillm classify runs/reviews --json < texts.txt > labels.jsonl
            one object per line: {"label": ..., "probabilities": {...}, "text": ...}
    """

    def show(number: int, text: str, answer: Any) -> list[str]:
        if answer is None:
            return ["null" if json else ""]
        if json:
            values = {"label": answer.label, "probabilities": answer.probabilities, "text": text}
            return [dumps(values, ensure_ascii=False)]
        return [f"{answer.label}\t{answer.probability:.4f}\t{text}"]

    answers = separately(load(run_folder).classify)
    return print_answers(answers, show, chunks(texts), blank=True)


def embed(
    run_folder: str = run_argument("a run of bert or encoder"),
    texts: list[str] = TEXTS,
    to: str | None = option(None, "write a .npy file (default: standard output)", "FILE"),
    pooling: str | None = option(
        None,
        "the mean of all tokens' vectors, the first token's, or the largest (max) of each feature",
        choices=OF_TEXTS,
        default_help="the setting of a sentence encoder, otherwise the mean",
    ),
) -> int:
    """Write a vector for each line of text.

    The texts become one array (texts, width) in NumPy's format.
    A text longer than the model's context is cut.  An imported sentence encoder pools the vectors
    of the tokens with the setting in its files.

    examples:
      minillm embed runs/bert < lines.txt > vectors.npy
      minillm embed runs/bert --to vectors.npy --pooling first < lines.txt
            then, in Python: numpy.load("vectors.npy")
    """
    if to is None and sys.stdout.isatty():
        raise InputError("expected the name of a file: a terminal cannot show vectors", "to")
    run = load(run_folder)
    vectors = [run.embed([], pooling)]  # an error of the run comes before reading
    vectors += [run.embed(lines, pooling) for lines, _ in chunks(texts)]
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(vectors))
    if to is None:
        sys.stdout.buffer.write(buffer.getvalue())
    else:
        write_file(to, buffer.getvalue())
    return 0


def answer(
    run_folder: str = run_argument("a run of qa"),
    questions: list[str] = argument(
        "questions (default: the lines of standard input)", "QUESTION", ()
    ),
    context: str = option(MISSING, "the text with the answers, - for standard input", "FILE"),
    n_best: int | None = option(None, "print the N best answers", "N", least=1, most=1000),
) -> int:
    """Answer questions from a text.

    Answer QUESTIONs, or the lines of standard input, with parts of the text of --context, by a run
    of qa.  Each line of output is the answer, its probability among the best candidates, and its
    place, separated by tabs.  A run that was also trained on unanswerable questions may give no
    answer.

    examples:
      minillm answer runs/qa --context page.txt "What is the default of limit?"
      minillm answer runs/qa --context page.txt < questions.txt
      minillm answer runs/qa --context page.txt "What does it return?" --n-best 3
            number of the question, probability, answer and place, best first
    """
    if context == STANDARD_INPUT and not questions:
        raise InputError("expected a file, as standard input has the questions", "context")
    answers_of, text = load(run_folder).answers, read_text([context])

    def show(number: int, question: str, answers: list[Any] | None) -> Iterator[str]:
        for found, probability, start, _ in answers or ():
            columns = [f"{probability:.4f}", " ".join(found.split())]
            columns = [f"{number}", *columns] if n_best else columns[::-1]
            yield "\t".join([*columns, _place(start, text)])

    return print_answers(
        lambda questions, places: answers_of(questions, text, n_best or 1),
        show,
        chunks(questions),
        blank=True,
    )


def _place(start: int | None, text: str) -> str:
    """The line and the column of a character, as editors count them."""
    if start is None:
        return "no answer"
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    return f"line {line}, column {column}"


def translate(
    run_folder: str = run_argument("a run of seq2seq, transformer or summariser"),
    texts: list[str] = TEXTS,
    search: Given = given(Search),
    n_best: int | None = option(
        None, "print the N best outputs of each line, with their scores", "N", least=1, most=1000
    ),
) -> int:
    """Translate texts, line by line, with an encoder-decoder.

    Beam search extends the most probable hypotheses step by step; --beam 1 is the greedy choice.
    The output of a line that is empty or cannot be read is an empty line.

    examples:
      minillm translate runs/cmudict speech
      minillm translate runs/multi30k < english.txt > french.txt
      minillm translate runs/cmudict attention --n-best 3
            number of the line, score (nats per token) and output, separated by tabs, best first
    """
    options = search_options(make(Search, search))
    if n_best and n_best > options["beam"]:
        raise InputError(f"expected at most --beam {options['beam']}, found {n_best}", "n_best")
    run = load(run_folder)
    run.hypotheses([], **options)  # an error of the run comes before reading
    lines = cut = 0

    def show(number: int, text: str, outputs: list[Translation] | None) -> list[str]:
        nonlocal lines, cut
        lines, cut = number, cut + any(output.cut for output in outputs or ())
        best = [(" ".join(one.text.splitlines()), one.hypothesis.score) for one in outputs or ()]
        if n_best is None:
            return [text for text, _ in best[:1]] or [""]
        return [f"{number}\t{score:.4f}\t{text}" for text, score in best[:n_best]]

    answers = separately(lambda texts, places: run.hypotheses(texts, places=places, **options))
    status = print_answers(answers, show, chunks(texts))
    if cut:
        say(f"{cut:,} of {lines:,} sources are cut to {run.settings.max_source:,} tokens")
    return status


def summarise(
    run_folder: str = run_argument("the folder of a run, or lead or textrank"),
    files: list[str] = argument("UTF-8 text (default: standard input)", "FILE", ()),
    length: Given = given(Length),
) -> int:
    """Summarise texts.

    DIR is a run that was trained on pairs of a text and its summary, a chat model, or the name of a
    method that chooses sentences of the text and needs no training: lead, the first sentences, or
    textrank, those that have the most in common with the others.

    Each FILE is a text, and its summary one line of the output; with several FILEs, the name of the
    file and a tab precede it.  Of a text that is longer than a model can read, the beginning is
    summarised.  A text that is empty or cannot be read has an empty summary.

    examples:
      minillm summarise textrank report.txt --sentences 3
      minillm summarise runs/smol report.txt --words 60
            a chat model, such as an imported one, or one fine-tuned on pairs
      minillm summarise lead *.txt
            a folder named lead is ./lead
      minillm translate runs/emails < emails.txt > subjects.txt
            line by line, with a run that was trained on pairs
    """
    method = METHODS.get(run_folder)
    limits = make(Length, length)
    if method is None:
        run = load(run_folder)
        run.summaries([], **length)  # an error of the run comes before reading
    files = files or [STANDARD_INPUT]
    texts = [_text(file) for file in files], [shown(file) for file in files]

    def answers(texts: Sequence[str], places: Sequence[str]) -> Iterator[str | InputError]:
        if method is None:
            summaries = run.summaries(texts, places=places, report=say, **length)
        else:
            summaries = (
                extracted(method, text, limits)
                or InputError(f"{place}: expected a text with words, found none")
                for text, place in zip(texts, places, strict=True)
            )
        for summary in summaries:
            if isinstance(summary, InputError) and len(files) == 1:
                raise summary
            yield summary

    def show(number: int, text: str, summary: str | None) -> list[str]:
        line = " ".join((summary or "").split())
        return [line if len(files) == 1 else f"{shown(files[number - 1])}\t{line}"]

    return print_answers(answers, show, [texts], "texts", blank=len(files) == 1)


def _text(file: str) -> str:
    """The text of a file, which may be empty."""
    if os.path.isfile(file) and not os.path.getsize(file):
        return ""
    return "\n".join(line for line, _ in read_lines(file))
