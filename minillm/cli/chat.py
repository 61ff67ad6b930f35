"""Talk to a model that answers."""

import sys
from collections.abc import Iterator, Sequence

from minillm.cli.arguments import Given, given, run_argument
from minillm.cli.lines import chunks, print_answers
from minillm.cli.process import first_interrupt_noted, say
from minillm.data.files import read_json
from minillm.data.lines import read_lines
from minillm.decoding import ChatSampling
from minillm.errors import InputError
from minillm.option import option
from minillm.runs.load import load
from minillm.text.chat_template import KNOWN, Message

QUOTES = '"""'  # around a message of several lines

TEMPLATE = option(None, "a chat template instead of the run's own", "NAME", choices=tuple(KNOWN))


def chat(
    run_folder: str = run_argument("the run of a model that answers, or a GGUF file"),
    system: str | None = option(None, "the system prompt, which precedes the conversation", "TEXT"),
    lines: bool = option(False, "answer each line on its own, in one line"),
    schema: str | None = option(
        None, "answer in JSON that satisfies the JSON schema in FILE", "FILE"
    ),
    length: int | None = option(
        None,
        "write at most N tokens per answer (default: as many as fit the context)",
        "N",
        least=1,
        most=10**8,
    ),
    template: str | None = TEMPLATE,
    sampling: Given = given(ChatSampling),
) -> int:
    r"""Talk to a model that answers.

    Each line of standard input is a message, and the answer appears as the model samples it.  The
    model sees the whole conversation; if this exceeds its context, the oldest turns are dropped.

    A message of several lines starts and ends with three double quotes.  Ctrl-C stops the answer;
    at the prompt it ends the chat, like /quit or the end of the input.  /reset starts a new
    conversation.

    With --lines, each line of the input is a separate conversation, and its answer is one line of
    the output: line breaks are written as \n, and a backslash as \\.  The output is an empty line
    for an empty one and for one that does not fit the context, with a note on standard error.
    With --schema, each answer is JSON that satisfies a schema; with --lines, too, JSON on one line.

    examples:
      minillm chat runs/smol
      minillm chat runs/smol --system "You answer in one sentence." --temperature 0.8
      minillm chat SmolLM2-135M-Instruct.Q4_1.gguf     a published model, read in place
      echo "What is the capital of France?" | minillm chat runs/smol --length 50
      minillm chat runs/smol --lines < questions.txt > answers.txt
      minillm chat runs/smol --lines --schema invoice.json < letters.txt > invoices.txt
    """
    opened = load(run_folder)
    chat = opened.answering_in(template)
    chosen = chat.sampling_with(**sampling)
    beginning: list[Message] = []
    if system is not None:
        beginning.append({"role": "system", "content": system})
    grammar = None
    if schema is not None:
        grammar = chat.grammar(read_json(schema), f"{schema}: schema")

    def answers(texts: Sequence[str], places: Sequence[str]) -> Iterator[str | InputError]:
        conversations = ([*beginning, {"role": "user", "content": text}] for text in texts)
        written = chat.answers(conversations, length, chosen, grammar)
        for place, answer in zip(places, written, strict=True):
            refused = isinstance(answer, InputError)
            yield InputError(f"{place}: {answer}") if refused else answer

    def show(number: int, line: str, answer: str | None) -> list[str]:
        answer = answer or ""
        if grammar is None:  # in JSON, line breaks are white space
            answer = answer.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        return [answer.replace("\n", "")]

    if lines:
        return print_answers(answers, show, chunks())
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
        conversation = [*messages, {"role": "user", "content": line}]
        try:
            pieces = chat.answer(conversation, length, chosen, say, grammar)
            if answer := _show(pieces):  # not stopped before its first token
                kept = chat.fitting(conversation, length)
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
