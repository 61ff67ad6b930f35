"""The paths of the server, and its answers: OpenAI's interface, and a page.

    GET  /                        a page to talk to the model
    GET  /v1/models               the one model
    POST /v1/chat/completions     an answer to messages
    POST /v1/completions          the continuation of a text

An answer is one JSON object or, with "stream", server-sent events: one for each piece.  The
interface is described in OpenAI's API reference ("Chat completions", 2023).
"""

import asyncio
import contextlib
import json
import secrets
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from minillm.decoding import Sampling
from minillm.decoding.chat import Chat
from minillm.errors import InputError, one_line
from minillm.serving import connections
from minillm.serving.engine import Engine, Full
from minillm.serving.requests import RequestError, Wanted, read
from minillm.serving.threads import Threads
from minillm.text.template_processes import NoTime

LARGEST_BODY = 4 << 20  # bytes
SLOWEST_BODY = 30  # seconds
WAITING = 256  # requests
ENCODED = 4  # requests whose texts are encoded at a time
LOOK = 0.5  # seconds between looks at whether a client that waits is still there

# The page runs its own script only, and talks to this server only.
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
)


class Event(NamedTuple):
    """A piece of an answer, the reason if it is the last one, and the number of tokens so far."""

    piece: str
    reason: str | None
    tokens: int


class Server:
    """A model under a name, and the answers to requests for it."""

    def __init__(self, chat: Chat, name: str, parallel: int, sampling: Sampling):
        self.chat, self.name, self.sampling = chat, name, sampling
        self.engine = Engine(chat, parallel, WAITING)
        self.began = int(time.time())
        self._threads = Threads(ENCODED)
        self._longest = max(map(len, chat.tokenizer.tokens))

    def application(self, local: str | None) -> Starlette:
        """The application; ``local`` is the address of the server if only this machine reaches it.

        Requests must then name this machine as their host.
        """
        only = [Middleware(connections.OnlyLocalHosts, name=local)] if local else []
        return Starlette(
            routes=[
                Route("/", self.page),
                Route("/v1/models", self.models),
                Route("/v1/models/{name:path}", self.models),
                Route("/v1/chat/completions", partial(self.answer, chat=True), methods=["POST"]),
                Route("/v1/completions", partial(self.answer, chat=False), methods=["POST"]),
            ],
            middleware=only,
            exception_handlers={
                RequestError: _error,
                ClientDisconnect: _gone,
                HTTPException: _http_error,
                Exception: _failure,
            },
        )

    async def page(self, request: Request) -> Response:
        """A page to talk to the model."""
        page = Path(__file__).with_name("page.html").read_text("utf-8")
        return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY})

    async def models(self, request: Request) -> Response:
        """The list of models, or the one of the path."""
        model = {"id": self.name, "object": "model", "created": self.began, "owned_by": "minillm"}
        asked = request.path_params.get("name")
        if asked is None:
            return JSONResponse({"object": "list", "data": [model]})
        if asked != self.name:
            message = f"model: expected {self.name!r}, found {asked[:60]!r}"
            raise RequestError(message, "model", "model_not_found", 404)
        return JSONResponse(model)

    async def answer(self, request: Request, chat: bool) -> Response:
        """Answer a chat, or continue a text."""
        wanted, ids = await self._read(request, await _body(request), chat)
        if len(ids) >= self.chat.reader.config.context:
            raise self._too_long(chat, f"{len(ids):,}")
        form = _Form(chat, self.name, len(ids))
        events = self._events(request, ids, wanted)
        if wanted.stream:
            first = await anext(events)  # an error at once gets its status
            stream = form.stream(first, events, wanted.usage)
            return StreamingResponse(stream, media_type="text/event-stream")
        every = [event async for event in events]
        return JSONResponse(form.whole("".join(event.piece for event in every), every[-1]))

    async def _read(self, request: Request, body: bytes, chat: bool) -> tuple[Wanted, list[int]]:
        """The checked request, and the ids of its text; the work ends if the client leaves."""
        gone = threading.Event()

        def work() -> tuple[Wanted, list[int]]:
            wanted = read(body, self.name, self.sampling, chat)
            return wanted, self._ids(wanted, chat, gone)

        task = asyncio.ensure_future(self._threads.run(work))
        try:
            while not (await asyncio.wait({task}, timeout=LOOK))[0]:
                if await request.is_disconnected():
                    raise ClientDisconnect
            return task.result()
        finally:
            gone.set()
            task.cancel()

    def _ids(self, wanted: Wanted, chat: bool, gone: threading.Event) -> list[int]:
        """The ids of the messages, or of the prompt.  What cannot fit is not encoded."""
        tokenizer, context = self.chat.tokenizer, self.chat.reader.config.context

        def watch(n: int) -> None:
            if gone.is_set():
                raise ClientDisconnect
            if n >= context:
                raise self._too_long(chat, f"{n:,} or more")

        if len(wanted.messages) >= context:
            raise self._too_long(chat, f"{len(wanted.messages):,} messages")
        texts = [message["content"] for message in wanted.messages] or [wanted.prompt]
        size = sum(len(text.encode("utf-8", "replace")) for text in texts)
        if size >= context * self._longest:
            raise self._too_long(chat, f"{size:,} bytes")
        try:
            watch(0)
            if chat:
                return self.chat.encode(wanted.messages, watch).tolist()
            ids = tokenizer.encode(wanted.prompt, "prompt").tolist()
            return ids or [tokenizer.bos or 0]
        except NoTime as error:
            raise RequestError(str(error), code="overloaded", status=503) from None
        except InputError as error:
            raise RequestError(str(error)) from None

    def _too_long(self, chat: bool, found: str) -> RequestError:
        message = f"expected less than {self.chat.reader.config.context:,} tokens, found {found}"
        return RequestError(message, "messages" if chat else "prompt", "context_length_exceeded")

    async def _events(
        self, request: Request, ids: list[int], wanted: Wanted
    ) -> AsyncIterator[Event]:
        """Yield the events of a text; it ends if the client leaves."""
        loop = asyncio.get_running_loop()
        queue = asyncio.Queue[tuple[str, str | Exception | None]]()

        def deliver(piece: str, reason: str | Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(queue.put_nowait, (piece, reason))

        try:
            job = self.engine.submit(ids, wanted.length, wanted.sampling, wanted.stop, deliver)
        except Full:
            message = f"{WAITING} requests wait already: try again later"
            raise RequestError(message, code="overloaded", status=503) from None
        reason: str | Exception | None = None
        try:
            while reason is None:
                piece = ""
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        piece, reason = await queue.get()
                if isinstance(reason, Exception):
                    raise reason
                if piece or reason:
                    yield Event(piece, reason, job.written)
                if reason is None and await request.is_disconnected():
                    raise ClientDisconnect
        finally:
            self.engine.cancel(job)


class _Form:
    """The objects of an answer."""

    def __init__(self, chat: bool, model: str, prompt_tokens: int):
        self.chat, self.prompt_tokens = chat, prompt_tokens
        self.object = "chat.completion" if chat else "text_completion"
        self.common = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }

    def usage(self, tokens: int) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self.prompt_tokens + tokens,
        }

    def whole(self, text: str, last: Event) -> dict[str, Any]:
        """An answer as one object."""
        message = {"role": "assistant", "content": text}
        content = {"message": message} if self.chat else {"text": text}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": last.reason}
        usage = self.usage(last.tokens)
        return {**self.common, "object": self.object, "choices": [choice], "usage": usage}

    async def stream(
        self, event: Event, others: AsyncIterator[Event], usage: bool
    ) -> AsyncIterator[bytes]:
        """An answer as events."""
        if self.chat:
            yield self._event(self._choice({"role": "assistant", "content": ""}, None))
        try:
            while True:
                if event.piece:
                    yield self._event(self._choice(self._delta(event.piece), None))
                if event.reason is not None:
                    break
                event = await anext(others)
            yield self._event(self._choice({} if self.chat else self._delta(""), event.reason))
            if usage:
                yield self._event({"choices": [], "usage": self.usage(event.tokens)})
            yield b"data: [DONE]\n\n"
        except ClientDisconnect:
            pass
        except (InputError, MemoryError) as error:
            yield self._event(RequestError(str(error), status=500).body)
        finally:
            await others.aclose()  # type: ignore[attr-defined]

    def _delta(self, piece: str) -> dict[str, str]:
        return {"content": piece} if self.chat else {"text": piece}

    def _choice(self, delta: dict[str, str], reason: Any) -> dict[str, Any]:
        part = {"delta": delta} if self.chat else delta
        return {"choices": [{"index": 0, **part, "logprobs": None, "finish_reason": reason}]}

    def _event(self, values: dict[str, Any]) -> bytes:
        kind = "chat.completion.chunk" if self.chat else self.object
        whole = values if "error" in values else {**self.common, "object": kind, **values}
        return f"data: {json.dumps(whole)}\n\n".encode()


async def _body(request: Request) -> bytes:
    """The body of a request.  RequestError for one that is too large, too slow or no JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a page of another site can send others unasked
        message = f"Content-Type: expected application/json, found {kind[:60] or 'none'}"
        raise RequestError(message, status=415)
    parts, size = [], 0
    try:
        async with asyncio.timeout(SLOWEST_BODY):
            async for part in request.stream():
                size += len(part)
                if size > LARGEST_BODY:
                    message = f"expected a body of at most {LARGEST_BODY:,} bytes"
                    raise RequestError(message, status=413)
                parts.append(part)
    except TimeoutError:
        raise RequestError(f"the body took more than {SLOWEST_BODY} s", status=408) from None
    return b"".join(parts)


async def _error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse(error.body, error.status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path[:60]}: {error.detail}"
    return JSONResponse(RequestError(message, status=error.status_code).body, error.status_code)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # the client has left


async def _failure(request: Request, error: Exception) -> Response:
    """A failure of ours: its traceback is printed."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        print(one_line(line, 1000), file=sys.stderr, flush=True)
    return JSONResponse(RequestError(f"the server failed: {error}", status=500).body, 500)


def serve(server: Server, host: str, port: int, started: Callable[[str], None]) -> None:
    """Answer requests until a signal comes.  ``started`` is called with the address.

    InputError for an address that cannot be used.
    """
    try:
        with connections.listen(host, port) as listening:
            bound, port = listening.getsockname()[:2]
            config = uvicorn.Config(
                server.application(host if connections.is_local(bound) else None),
                http=connections.Connection,
                ws="none",
                lifespan="off",
                log_level="critical",  # failures are printed above, and ended streams are none
                limit_concurrency=connections.MOST,
                timeout_graceful_shutdown=2,
                server_header=False,
            )
            started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        server.engine.close()
