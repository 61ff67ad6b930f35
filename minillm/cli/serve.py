"""Serve a model that answers, with OpenAI's interface and a page.

Programs that talk to OpenAI's chat completions can talk to this model: their base URL is the
address that is shown, with /v1 after it, and the name of the model is that of the folder or file.
The address itself is a page in the browser.  Requests that come at the same time are answered
together.

The options of sampling are for requests that leave them out.  Ctrl-C ends the server.

examples:
  minillm serve runs/smol
  minillm serve runs/smol --port 9000 --parallel 16
  curl http://127.0.0.1:8080/v1/models
"""

import argparse
from pathlib import Path

from minillm.cli import process
from minillm.cli.arguments import ArgumentParser
from minillm.cli.chat import add_template
from minillm.cli.options import (
    add_option,
    add_run,
    add_settings,
    given_settings,
    integer,
    open_run,
)
from minillm.decoding import ChatSampling
from minillm.errors import InputError


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the address, the number of parallel answers, and how to sample."""
    add_run(parser, "the run of a model that answers, or a GGUF file")
    help = "the address to listen on; others than those of this machine let everybody in"
    add_option(parser, "--host ADDRESS", help, default="127.0.0.1")
    add_option(parser, "--port N", "the port; 0: any that is free", integer(0, 65535), 8080)
    add_option(parser, "--parallel N", "answer N requests at a time", integer(1, 1024), 8)
    add_template(parser)
    add_settings(parser, ChatSampling)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    try:  # 200 ms, for this verb only
        from minillm.serving.app import Server, serve
    except ImportError:
        raise InputError(
            'a server needs the packages starlette and uvicorn, which the extra "serve" has'
        ) from None
    opened = open_run(args)
    chat = opened.answering_in(args.template)
    name = "".join(c if c.isprintable() else "_" for c in Path(args.run_folder).resolve().name)
    sampling = chat.sampling_with(**given_settings(args, ChatSampling))
    server = Server(chat, name, args.parallel, sampling)

    def started(address: str) -> None:
        print(f"{address} answers as {name}; the base URL is {address}/v1", flush=True)

    process.end_work_at_once()  # after the grace of the server, and not after its threads
    serve(server, args.host, args.port, started)
    return 0
