"""Serve a model."""

from pathlib import Path

from minillm.cli import process
from minillm.cli.arguments import Given, given, run_argument
from minillm.cli.chat import TEMPLATE
from minillm.decoding import ChatSampling
from minillm.errors import missing_extra
from minillm.option import option
from minillm.runs.load import load


def serve(
    run_folder: str = run_argument(
        "the run of a model that answers or of an encoder, or a GGUF file"
    ),
    host: str = option(
        "127.0.0.1",
        "the address to listen on; unless it is this machine's own, other machines can connect",
        "ADDRESS",
    ),
    port: int = option(8080, "the port; 0: any that is free", "N", least=0, most=65535),
    parallel: int = option(8, "answer N requests at a time", "N", least=1, most=1024),
    template: str | None = TEMPLATE,
    sampling: Given = given(ChatSampling),
) -> int:
    """Serve a model with OpenAI's interface and a page, or an encoder's vectors.

    Programs that use OpenAI's chat completions can use this model: their base URL is the address
    that is printed, followed by /v1, and the model is named like its folder or file.  The address
    itself opens a page in the browser.  Simultaneous requests are answered together.

    The run of an encoder, such as bert, serves embeddings of texts, and so does a model that
    answers.

    The sampling options are defaults, which a request may replace.  Ctrl-C stops the server.

    examples:
      minillm serve runs/smol
      minillm serve runs/smol --port 9000 --parallel 16
      curl http://127.0.0.1:8080/v1/models
    """
    try:  # 200 ms, for this verb only
        from minillm.serving import app
        from minillm.serving.embeddings import Embedder
    except ImportError:
        raise missing_extra("a server", "serve") from None
    name = "".join(c if c.isprintable() else "_" for c in Path(run_folder).resolve().name)
    opened = load(run_folder)
    server: app.EmbeddingServer
    if opened.has("embed"):
        server = app.EmbeddingServer(name, Embedder(opened.tokenizer, opened.embed))
    else:
        chat = opened.answering_in(template)
        server = app.Server(chat, name, parallel, chat.sampling_with(**sampling))

    def started(address: str) -> None:
        print(f"{address} answers as {name}; the base URL is {address}/v1", flush=True)

    process.end_work()  # after the grace of the server, but before its threads have ended
    app.serve(server, host, port, started)
    return 0
