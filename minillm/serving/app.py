"""The paths of the server, and its answers: OpenAI's interface, and a page.

    GET  /                        a page to talk to the model
    GET  /v1/models               the one model
    POST /v1/chat/completions     an answer to messages
    POST /v1/completions          the continuation of a text
    POST /v1/embeddings           the vectors of texts

An answer is one JSON object or, with "stream", server-sent events: one for each piece.  The
interface is described in OpenAI's API reference ("Chat completions", 2023).
"""

import asyncio
import contextlib
import socket
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from minillm.decoding import Sampling
from minillm.decoding.chat import Chat
from minillm.decoding.grammar import ANY_OBJECT, Grammar
from minillm.decoding.mean_states import mean_states
from minillm.errors import InputError, one_line, short
from minillm.serving.embeddings import Embedder, answered
from minillm.serving.engine import Engine, Event, Job
from minillm.serving.forms import Form, Prompt
from minillm.serving.requests import RequestError, Wanted, answer_to, read
from minillm.serving.tools import CLOSING, OPENING, Answer, call_rules, takes_tools

T = TypeVar("T")

LARGEST_BODY = 4 << 20  # bytes
WAITING = 256  # requests
CONNECTIONS = 512  # further ones get status 503
ENCODED = 4  # requests whose texts are encoded at a time
LOOK = 0.5  # seconds between looks at whether a client that waits is still there

# The page runs its own script only, and talks to this server only.
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
)


class EmbeddingServer:
    """A model under a name, and the vectors of texts."""

    def __init__(self, name: str, embedder: Embedder):
        self.name, self.embedder = name, embedder
        self.began = int(time.time())
        self._embedding = anyio.CapacityLimiter(1)  # it uses all cores by itself

    def application(self, hosts: Sequence[str]) -> Starlette:
        """The application; a request must name one of the ``hosts``."""
        return Starlette(
            routes=self._routes(),
            middleware=[Middleware(TrustedHostMiddleware, hosts, www_redirect=False)],
            exception_handlers=dict.fromkeys(
                (ClientDisconnect, InputError, HTTPException, Exception), _refused
            ),
        )

    def close(self) -> None:
        """End the work on requests."""

    def _routes(self) -> list[Route]:
        return [
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.models),
            Route("/v1/embeddings", self.embeddings, methods=["POST"]),
        ]

    async def models(self, request: Request) -> Response:
        """The list of models, or the one of the path."""
        model = {"id": self.name, "object": "model", "created": self.began, "owned_by": "minillm"}
        asked = request.path_params.get("name")
        if asked is not None and asked != self.name:
            message = f"expected {self.name!r}, found {short(asked)}"
            raise RequestError(message, "model", "model_not_found", 404)
        if asked is not None:
            return JSONResponse(model)
        return JSONResponse({"object": "list", "data": [model]})

    async def embeddings(self, request: Request) -> Response:
        """The vectors of texts."""
        work = partial(answered, await _body(request), self.name, self.embedder)
        return JSONResponse(await _in_thread(work, self._embedding))


class Server(EmbeddingServer):
    """A model that answers, under a name, and the answers to requests for it."""

    def __init__(self, chat: Chat, name: str, parallel: int, sampling: Sampling):
        vectors = partial(mean_states, chat.reader)
        super().__init__(name, Embedder(chat.tokenizer, vectors, 1))
        self.chat, self.sampling = chat, sampling
        self.engine = Engine(chat, parallel, WAITING)
        self._encoding = anyio.CapacityLimiter(ENCODED)

    def close(self) -> None:
        """End the thread of the engine."""
        self.engine.close()

    def _routes(self) -> list[Route]:
        return [
            Route("/", self.page),
            Route("/v1/chat/completions", partial(self.answer, chat=True), methods=["POST"]),
            Route("/v1/completions", partial(self.answer, chat=False), methods=["POST"]),
            *super()._routes(),
        ]

    async def page(self, request: Request) -> Response:
        """A page to talk to the model."""
        page = Path(__file__).with_name("page.html").read_text("utf-8")
        return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY})

    async def answer(self, request: Request, chat: bool) -> Response:
        """Answer a chat, or continue a text or several."""
        body = await _body(request)

        def work() -> tuple[Wanted, list[Prompt]]:
            wanted = read(body, self.name, self.sampling, len(self.chat.tokenizer), chat)
            return wanted, [self._talk(wanted)] if chat else self._prompts(wanted)

        wanted, prompts = await _in_thread(work, self._encoding)
        form = Form(chat, self.name, self.chat.tokenizer, prompts, wanted)
        events = self._events(request, prompts, wanted)
        if wanted.fields.stream:
            first = await anext(events)  # an error at once gets its status
            stream = form.stream(first, events, wanted.fields.stream_options.include_usage)
            return StreamingResponse(stream, media_type="text/event-stream")
        return JSONResponse(form.whole([event async for event in events]))

    def _talk(self, wanted: Wanted) -> Prompt:
        """The messages as a prompt, with the grammar of the answer and its opening."""
        tools, form = wanted.tools, wanted.fields.response_format
        forced, grammar, schema = tools.forced if tools else {}, None, ANY_OBJECT
        if tools or any(m["role"] == "tool" or "tool_calls" in m for m in wanted.messages):
            if not takes_tools(self.chat.template.source):
                message = "expected a chat template that has <tool_call>, found one without"
                raise InputError(message, "tools")
            if forced:
                grammar = Grammar(self.chat.tokens, call_rules(forced), "tools")
        elif form.type != "text":
            if form.type == "json_schema":
                schema = form.json_schema and form.json_schema.schema
            grammar = self.chat.grammar(schema, "response_format.json_schema.schema")

        described = tools.described if tools else None
        ids = self.chat.encode(wanted.messages, tools=described).tolist()
        if forced:
            ids += self.chat.tokenizer.encode_known(OPENING).tolist()
        self._check_fits("messages", len(ids))
        return Prompt(ids, "", grammar)

    def _prompts(self, wanted: Wanted) -> list[Prompt]:
        """The prompts of a completion, and their ids."""
        tokenizer, prompts = self.chat.tokenizer, []
        for number, prompt in enumerate(wanted.prompts):
            name = "prompt" if len(wanted.prompts) == 1 else f"prompt[{number}]"
            if isinstance(prompt, str):
                ids = tokenizer.opened(tokenizer.encode_known(prompt, name)).tolist()
                read = Prompt(ids or [tokenizer.bos or 0], prompt)
            else:
                read = Prompt(prompt, tokenizer.decode(prompt) if wanted.fields.echo else "")
            self._check_fits(name, len(read.ids), room=int(wanted.fields.length == 0))
            prompts.append(read)
        return prompts

    def _check_fits(self, name: str, tokens: int, room: int = 0) -> None:
        """RequestError unless so many tokens leave room in the context for another.

        A ``room`` of 1: they may fill the context, because they are scored only.
        """
        most = self.chat.reader.config.context + room
        if tokens >= most:
            message = f"expected less than {most:,} tokens, found {tokens:,}"
            raise RequestError(message, name, "context_length_exceeded")

    async def _events(
        self, request: Request, prompts: list[Prompt], wanted: Wanted
    ) -> AsyncIterator[Event]:
        """Yield the events of all choices; they end if the client leaves."""
        loop = asyncio.get_running_loop()
        queue = asyncio.Queue[Event | Exception]()

        def deliver(event: Event | Exception) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(queue.put_nowait, event)

        jobs: list[Job] = []
        tools = wanted.tools
        for prompt in prompts:
            for choice in range(wanted.fields.n):
                continuation = self.chat.continuation(
                    prompt.ids,
                    wanted.fields.length,
                    wanted.sampling_of(choice),
                    grammar=prompt.grammar,
                    adjustments=wanted.fields.adjustments(),
                    stop=wanted.fields.stop,
                    shown=(OPENING, CLOSING) if tools else (),
                    top=wanted.fields.top,
                    scores_prompt=wanted.fields.echo and wanted.fields.top is not None,
                )
                answer = Answer(tools) if tools else None
                echo = prompt.text if wanted.fields.echo else ""
                jobs.append(Job(continuation, deliver, len(jobs), echo, answer))
        self.engine.submit(jobs)
        active = len(jobs)
        try:
            while active:
                event = await _present(request, queue.get())
                if isinstance(event, InputError | MemoryError) and not getattr(event, "field", ""):
                    raise RequestError(str(event), status=500)  # such as a model that has diverged
                if isinstance(event, Exception):  # of a field: a schema that needs too much work
                    raise event
                active -= event.reason is not None
                yield event
        finally:
            self.engine.cancel(jobs)


async def _present(request: Request, awaited: Awaitable[T]) -> T:
    """The result of what is awaited.  ClientDisconnect if the client leaves before it comes."""
    task = asyncio.ensure_future(awaited)
    try:
        while True:
            if await request.is_disconnected():
                raise ClientDisconnect
            if (await asyncio.wait({task}, timeout=LOOK))[0]:
                return task.result()
    finally:
        task.cancel()


async def _in_thread(work: Callable[[], T], most: anyio.CapacityLimiter) -> T:
    """The result of some work in a thread; the signal that ends the server does not wait for it."""
    return await anyio.to_thread.run_sync(work, limiter=most, abandon_on_cancel=True)


async def _body(request: Request) -> bytes:
    """The body of a request.  RequestError for one that is too large or no JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a page of another site can send others unasked
        message = f"Content-Type: expected application/json, found {kind[:60] or 'none'}"
        raise RequestError(message, status=415)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            message = f"expected a body of at most {LARGEST_BODY:,} bytes"
            raise RequestError(message, status=413)
    return bytes(body)


async def _refused(request: Request, error: Exception) -> Response:
    """The answer to an error; the traceback of a failure of ours is printed."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)
    if isinstance(error, HTTPException):
        message = f"{request.method} {request.url.path[:60]}: {error.detail}"
        if error.status_code == 404:
            message += "; the addresses begin with /v1, as OpenAI's do: GET /v1/models"
        error = RequestError(message, status=error.status_code)
    elif not isinstance(error, InputError):
        for line in "".join(traceback.format_exception(error)).splitlines():
            print(one_line(line, 1000), file=sys.stderr, flush=True)
        error = RequestError(f"the server failed: {error}", status=500)
    return JSONResponse(*answer_to(error))


def serve(server: EmbeddingServer, host: str, port: int, started: Callable[[str], None]) -> None:
    """Answer requests until a signal comes.  ``started`` is called with the address.

    InputError for an address that cannot be used.
    """
    try:
        with listen(host, port) as listening:
            bound, port = listening.getsockname()[:2]
            config = uvicorn.Config(
                server.application(allowed_hosts(host, bound)),
                http="h11",
                ws="none",
                lifespan="off",
                log_level="critical",  # failures are printed above, and ended streams are none
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=2,
                server_header=False,
            )
            started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        server.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.  InputError for one that cannot be used."""
    if not host:  # it would be every address of this machine
        raise InputError("expected an address, found ''", "host")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
        return socket.create_server(address, family=family, backlog=CONNECTIONS)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while attempting")[0]
    except (ValueError, TypeError):  # no name at all
        reason = "it cannot be the name of a host"
    raise InputError(f"{one_line(host, 60)}:{port}: {reason}")


def allowed_hosts(name: str, address: str) -> list[str]:
    """The hosts that a request may name at an address, which was found by a name; "*": any.

    If only this machine can reach the address, a request must name this machine.  A web site whose
    name someone has pointed at this machine can therefore not use the model.
    """
    if not ip_address(address).is_loopback:
        return ["*"]
    return ["localhost", "127.0.0.1", "[::1]", f"[{name}]" if ":" in name else name]
