"""Talk to a model that answers.

Each line of standard input is a message, and the answer is written as the model draws it.  The
model sees the whole conversation.  What no longer fits its context is left out by whole turns.

Ctrl-C stops an answer, and ends the chat where there is none.  The line /reset begins a new
conversation, and /quit, or the end of the input, ends the chat.

examples:
  minillm chat runs/smol
  minillm chat runs/smol --system "You answer in one sentence." --temperature 0.8
  echo "What is the capital of France?" | minillm chat runs/smol --length 50
"""

import argparse
import sys
from collections.abc import Iterator

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
from minillm.data.lines import read_lines
from minillm.decoding import Chat, ChatSampling, Sampling
from minillm.errors import InputError
from minillm.text.chat_template import KNOWN, Message


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the system prompt, the template, the length, and how to sample."""
    add_run(parser, "the run of a model that answers")
    add_option(parser, "--system TEXT", "the system prompt, which precedes the conversation")
    help = "write at most N tokens in an answer (default: as many as fit the context)"
    add_option(parser, "--length N", help, integer(1, 10**8))
    add_template(parser)
    add_settings(parser, ChatSampling)


def add_template(parser: ArgumentParser) -> None:
    """``--template``."""
    help = f"a chat template in the place of the run's own: {', '.join(KNOWN)}"
    add_option(parser, "--template NAME", help, choices=list(KNOWN))


def run(args: argparse.Namespace) -> int:
    """Answer the lines of standard input."""
    opened = open_run(args)
    chat = opened.answering_in(args.template)
    sampling = chat.sampling_with(**given_settings(args, ChatSampling))
    beginning = [{"role": "system", "content": args.system}] if args.system is not None else []
    messages: list[Message] = list(beginning)
    terminal = sys.stdin is not None and sys.stdin.isatty()
    if terminal:
        print(f"{opened!r}\n/reset begins anew, /quit ends, Ctrl-C stops an answer")
    for line in _typed() if terminal else (text for text, _ in read_lines("-")):
        match line.strip():
            case "":
                continue
            case "/quit":
                break
            case "/reset":
                messages = list(beginning)
                continue
        asked = [*messages, {"role": "user", "content": line}]
        try:
            messages = _answer(chat, asked, args.length, sampling)
        except InputError as error:
            if not terminal:
                raise
            say(str(error))
    return 0


def _answer(
    chat: Chat, messages: list[Message], length: int | None, sampling: Sampling
) -> list[Message]:
    """Write the answer; return the conversation with it, as far as it fits the context."""
    written = []
    pieces = chat.answer(messages, length, sampling, say)
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
