"""Serve a model with OpenAI's interface and a page, or an encoder's vectors.

Programs that use OpenAI's chat completions can use this model: their base URL is the address that
is printed, followed by /v1, and the model is named like its folder or file.  The address itself
opens a page in the browser.  Simultaneous requests are answered together.

The run of an encoder, such as bert, serves embeddings of texts, and so does a model that answers.

The sampling options are defaults, which a request may replace.  Ctrl-C stops the server.

examples:
  minillm serve runs/smol
  minillm serve runs/smol --port 9000 --parallel 16
  curl http://127.0.0.1:8080/v1/models
"""

import argparse
from pathlib import Path

from minillm.cli import process
from minillm.cli.arguments import ArgumentParser
from minillm.cli.chat import add_sampling, chat_of
from minillm.cli.options import add_option, add_run, integer
from minillm.errors import missing_extra
from minillm.runs.load import load


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the address, the number of parallel answers, and how to sample."""
    add_run(parser, "the run of a model that answers or of an encoder, or a GGUF file")
    host = "the address to listen on; unless it is this machine's own, other machines can connect"
    add_option(parser, "--host ADDRESS", host, default="127.0.0.1")
    add_option(parser, "--port N", "the port; 0: any that is free", integer(0, 65535), 8080)
    add_option(parser, "--parallel N", "answer N requests at a time", integer(1, 1024), 8)
    add_sampling(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal arrives."""
    try:  # 200 ms, for this verb only
        from minillm.serving.app import EmbeddingServer, Server, serve
        from minillm.serving.embeddings import Embedder
    except ImportError:
        raise missing_extra("a server", "serve") from None
    name = "".join(c if c.isprintable() else "_" for c in Path(args.run_folder).resolve().name)
    opened = load(args.run_folder)
    server: EmbeddingServer
    if opened.has("embed"):
        width = opened.embed([]).shape[1]
        server = EmbeddingServer(name, Embedder(opened.tokenizer, width, opened.embed))
    else:
        chat, sampling = chat_of(opened, args)
        server = Server(chat, name, args.parallel, sampling)

    def started(address: str) -> None:
        print(f"{address} answers as {name}; the base URL is {address}/v1", flush=True)

    process.end_work()  # after the grace of the server, but before its threads have ended
    serve(server, args.host, args.port, started)
    return 0
