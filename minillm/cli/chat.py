"""Talk to a model that answers.

Each line of standard input is a message, and the answer appears as the model samples it.  The
model sees the whole conversation; if this exceeds its context, the oldest turns are dropped.

Three quotes, \""", start and end a message of several lines.  Ctrl-C stops the answer; at the
prompt it ends the chat, like /quit or the end of the input.  /reset starts a new conversation.

With --file, the text of a document precedes the first message of each conversation.  Both must fit
the context.
With --lines, each line of a file is a separate conversation, and its answer is one line of the
output: line breaks are written as \\n, and a backslash as \\\\.  The output is an empty line for an
empty one and for one that does not fit the context, with a note on standard error.
With --schema, each answer is JSON that satisfies a schema; with --lines, too, JSON on one line.

examples:
  minillm chat runs/smol
  minillm chat runs/smol --system "You answer in one sentence." --temperature 0.8
  minillm chat SmolLM2-135M-Instruct.Q4_1.gguf     a published model, read in place
  echo "What is the capital of France?" | minillm chat runs/smol --length 50
  echo "Summarise this." | minillm chat runs/smol --file report.txt
  minillm chat runs/smol --lines questions.txt > answers.txt
  minillm chat runs/smol --lines letters.txt --schema invoice.json > invoices.txt
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from minillm.cli.arguments import ArgumentParser
from minillm.cli.lines import chunks, print_answers
from minillm.cli.options import add_option, add_run, add_settings, given_settings, integer
from minillm.cli.process import first_interrupt_noted, say
from minillm.data.files import STANDARD_INPUT, read_json
from minillm.data.lines import read_lines
from minillm.decoding import Chat, ChatSampling, Sampling
from minillm.errors import InputError
from minillm.runs.load import load
from minillm.runs.run import Run
from minillm.text.chat_template import KNOWN, Message

QUOTES = '"""'  # around a message of several lines


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the system prompt, the template, the length, and how to sample."""
    add_run(parser, "the run of a model that answers, or a GGUF file")
    add_option(parser, "--system TEXT", "the system prompt, which precedes the conversation")
    add_option(parser, "--file DOC", "a text file that precedes the first message")
    add_option(parser, "--lines FILE", "answer each line of FILE, or of standard input: -")
    add_option(parser, "--schema FILE", "answer in JSON that satisfies the JSON schema in FILE")
    length = "write at most N tokens per answer (default: as many as fit the context)"
    add_option(parser, "--length N", length, integer(1, 10**8))
    add_sampling(parser)


def add_sampling(parser: ArgumentParser) -> None:
    """``--template``, and the options of sampling."""
    template = f"a chat template instead of the run's own: {', '.join(KNOWN)}"
    add_option(parser, "--template NAME", template, choices=list(KNOWN))
    add_settings(parser, ChatSampling)


def chat_of(opened: Run, args: argparse.Namespace) -> tuple[Chat, Sampling]:
    """The chat of a run, and the settings of :func:`add_sampling`."""
    chat = opened.answering_in(args.template)
    return chat, chat.sampling_with(**given_settings(args, ChatSampling))


def run(args: argparse.Namespace) -> int:
    """Answer the lines of standard input, or of a file."""
    opened = load(args.run_folder)
    chat, sampling = chat_of(opened, args)
    beginning: list[Message] = []
    if args.system is not None:
        beginning.append({"role": "system", "content": args.system})
    document = f"{_document(args.file)}\n\n" if args.file is not None else ""
    grammar = None
    if args.schema is not None:
        grammar = chat.grammar(read_json(args.schema), f"{args.schema}: schema")

    def asked(messages: list[Message], line: str) -> list[Message]:
        line = document + line if messages == beginning else line
        return [*messages, {"role": "user", "content": line}]

    def answers(lines: Sequence[str], places: Sequence[str]) -> Iterator[str | InputError | None]:
        conversations = (asked(beginning, line) if line.strip() else None for line in lines)
        written = chat.answers(conversations, args.length, sampling, grammar)
        for line, place, answer in zip(lines, places, written, strict=True):
            refused = isinstance(answer, InputError)
            answer = InputError(f"{place}: {answer}") if refused else answer
            yield answer if line.strip() else None

    def show(number: int, line: str, answer: str | None) -> list[str]:
        answer = answer or ""
        if grammar is None:  # in JSON, line breaks are white space
            answer = answer.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        return [answer.replace("\n", "")]

    if args.lines is not None:
        return print_answers(answers, show, chunks([args.lines]))
    messages = beginning
    terminal = sys.stdin is not None and sys.stdin.isatty()
    if terminal:
        print(f"{opened!r}\n/reset starts a new conversation, /quit ends, Ctrl-C stops an answer")
    for line in _messages(_typed() if terminal else (text for text, _ in read_lines("-"))):
        match line.strip():
            case "":
                continue
            case "/quit":
                break
            case "/reset":
                messages = beginning
                continue
        conversation = asked(messages, line)
        try:
            pieces = chat.answer(conversation, args.length, sampling, say, grammar)
            if answer := _show(pieces):  # not stopped before its first token
                kept = chat.fitting(conversation, args.length)
                messages = [*kept, {"role": "assistant", "content": answer}]
        except InputError as error:
            if not terminal:
                raise
            say(str(error))
    return 0


def _show(pieces: Iterator[str]) -> str:
    """Print an answer as it is written, until Ctrl-C: -> what was printed."""
    written = ""
    with first_interrupt_noted() as interrupts:
        for piece in pieces:
            written += piece
            print(piece, end="", flush=True)
            if interrupts:
                break
    print(flush=True)
    return written


def _typed() -> Iterator[str]:
    """The lines that are typed at a prompt, until the end of the input."""
    import readline  # noqa: F401  # 5 ms, at a terminal only: lines can be edited

    while True:
        try:
            yield input("> ")
        except EOFError:
            print()
            return
        except UnicodeDecodeError:
            say("expected text in UTF-8")


def _messages(lines: Iterator[str]) -> Iterator[str]:
    """The messages: a line or, if that begins with three quotes, all lines up to three others."""
    for line in lines:
        if line.lstrip().startswith(QUOTES):
            line = line.lstrip().removeprefix(QUOTES)
            while not line.rstrip().endswith(QUOTES):
                line += f"\n{next(lines, QUOTES)}"
            line = line.rstrip().removesuffix(QUOTES).strip("\n")
        yield line


def _document(path: str) -> str:
    """The text of a file."""
    if path == STANDARD_INPUT:
        raise InputError("expected the name of a file, found -, standard input", "file")
    text = "\n".join(line for line, _ in read_lines(path)).strip()
    if not text:
        raise InputError(f"{path}: expected a text, found none")
    return text
