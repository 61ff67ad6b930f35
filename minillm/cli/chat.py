"""Talk to a model that answers.

Each line of standard input is a message, and the answer appears as the model samples it.  The
model sees the whole conversation; if this exceeds its context, the oldest turns are dropped.

Three quotes, \""", start and end a message of several lines.  Ctrl-C stops the answer; at the
prompt it ends the chat, like /quit or the end of the input.  /reset starts a new conversation.

With --file, the text of a document precedes the first message of each conversation.  It may fill
half of the context; only the beginning of a longer document is read.
With --lines, each line of a file is a separate conversation, and its answer is one line of the
output: line breaks are written as \\n, and a backslash as \\\\.  The output is an empty line for a
line that cannot be answered, with a note on standard error.
With --schema, each answer is JSON that satisfies a schema; with --lines, too, JSON on one line.

examples:
  minillm chat runs/smol
  minillm chat runs/smol --system "You answer in one sentence." --temperature 0.8
  minillm chat SmolLM2-135M-Instruct.Q4_1.gguf     a published model, imported into a cache
  echo "What is the capital of France?" | minillm chat runs/smol --length 50
  echo "Summarise this." | minillm chat runs/smol --file report.txt
  minillm chat runs/smol --lines questions.txt > answers.txt
  minillm chat runs/smol --lines letters.txt --schema invoice.json > invoices.txt
"""

import argparse
import sys
from collections.abc import Callable, Iterator

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import (
    add_option,
    add_run,
    add_settings,
    given_settings,
    integer,
    open_run,
)
from minillm.cli.process import first_interrupt_noted, say
from minillm.data.files import STANDARD_INPUT, bounded_lines, read_json, reading, shown
from minillm.data.lines import read_lines, text_of
from minillm.decoding import Chat, ChatSampling, Sampling
from minillm.decoding.answers import answers
from minillm.decoding.grammar import Grammar
from minillm.errors import InputError
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
    opened = open_run(args)
    chat, sampling = chat_of(opened, args)
    beginning: list[Message] = []
    if args.system is not None:
        beginning.append({"role": "system", "content": args.system})
    document = _document(args.file, chat) if args.file is not None else ""
    grammar = None
    if args.schema is not None:
        grammar = chat.grammar(read_json(args.schema), f"{args.schema}: schema")
    if args.lines is not None:
        conversations = (
            None if line is None else _asked(beginning, line, document)
            for line in _lines(args.lines)
        )
        for number, answer in enumerate(
            answers(chat, conversations, args.length, sampling, grammar=grammar), 1
        ):
            if isinstance(answer, InputError):
                say(f"{shown(args.lines)}, line {number}: {answer}")
                answer = ""
            in_json = grammar is not None  # there, line breaks are white space
            print(answer.replace("\n", "") if in_json else _on_one_line(answer), flush=True)
        return 0
    messages = list(beginning)
    terminal = sys.stdin is not None and sys.stdin.isatty()
    if terminal:
        print(f"{opened!r}\n/reset starts a new conversation, /quit ends, Ctrl-C stops an answer")
    for line in _typed() if terminal else _piped():
        match line.strip():
            case "":
                continue
            case "/quit":
                break
            case "/reset":
                messages = list(beginning)
                continue
        asked = _asked(messages, line, document)
        try:
            messages = _answer(chat, asked, args.length, sampling, grammar)
        except InputError as error:
            if not terminal:
                raise
            say(str(error))
        if _is_lost(document, asked, messages):
            say(f"{args.file}: no longer in the conversation; /reset starts a new one with it")
    return 0


def _answer(
    chat: Chat,
    messages: list[Message],
    length: int | None,
    sampling: Sampling,
    grammar: Grammar | None,
) -> list[Message]:
    """Write the answer; return the conversation with it, as far as it fits the context."""
    written = []
    pieces = chat.answer(messages, length, sampling, say, grammar)
    with first_interrupt_noted() as interrupts:
        for piece in pieces:
            written.append(piece)
            sys.stdout.write(piece)
            sys.stdout.flush()
            if interrupts:
                break
    sys.stdout.write("\n")
    sys.stdout.flush()
    if not written:  # it was stopped before its first token
        return messages[:-1]
    kept = chat.fitting(messages, length)
    return [*kept, {"role": "assistant", "content": "".join(written)}]


# --- messages ----------------------------------------------------------------------------------


def _typed() -> Iterator[str]:
    """The messages that are typed at a prompt, until the end of the input."""
    import readline  # noqa: F401  # 5 ms, at a terminal only: lines can be edited

    while True:
        try:
            yield _whole(input("> "), lambda: input(". "))
        except EOFError:
            print()
            return
        except UnicodeDecodeError:
            say("expected text in UTF-8")


def _piped() -> Iterator[str]:
    """The messages of standard input; the last one may end without its quotes."""
    lines = (text for text, _ in read_lines("-"))
    for line in lines:
        yield _whole(line, lambda: next(lines, QUOTES))


def _whole(line: str, more: Callable[[], str]) -> str:
    """A message: a line or, if that begins with three quotes, all lines up to three others."""
    if not line.lstrip().startswith(QUOTES):
        return line
    text = line.lstrip().removeprefix(QUOTES)
    while not text.rstrip().endswith(QUOTES):
        text += f"\n{more()}"
    return text.rstrip().removesuffix(QUOTES).strip("\n")


def _asked(messages: list[Message], line: str, document: str) -> list[Message]:
    """The conversation with a further message; a document precedes the first one."""
    if document and not any(message["role"] == "user" for message in messages):
        line = f"{document}\n\n{line}"
    return [*messages, {"role": "user", "content": line}]


def _is_lost(document: str, before: list[Message], after: list[Message]) -> bool:
    """Whether a document has just left a conversation that still holds later turns."""
    before, after = ([m for m in some if m["role"] == "user"] for some in (before, after))
    if not (document and after):
        return False
    had, has = (some[0]["content"].startswith(document) for some in (before, after))
    return had and not has


def _document(path: str, chat: Chat) -> str:
    """The text of a file or, if it exceeds half of the context, its beginning."""
    if path == STANDARD_INPUT:
        raise InputError("--file: expected the name of a file, found -, standard input")
    text = "\n".join(line for line, _ in read_lines(path)).strip()
    if not text:
        raise InputError(f"{path}: expected a text, found none")
    ids, most = chat.tokenizer.encode_ordinary(text), chat.reader.config.context // 2
    if len(ids) <= most:
        return text
    say(f"{path}: it has {len(ids):,} tokens; only the first {most:,} fit half of the context")
    return "".join(chat.text(iter(ids[:most].tolist()))).rstrip("\ufffd")


# --- a file of messages --------------------------------------------------------------------------


def _lines(path: str) -> Iterator[str | None]:
    """The lines of a file; None for an empty one, and for one that is not UTF-8: it is reported."""
    with reading(path) as file:
        for number, data in enumerate(bounded_lines(file, shown(path)), 1):
            try:
                line = text_of(data, f"{shown(path)}, line {number}", first=number == 1)
            except InputError as error:
                say(str(error))
                line = ""
            yield line if line.strip() else None


def _on_one_line(text: str) -> str:
    """An answer without line breaks: ``printf %b`` shows it as it was."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
