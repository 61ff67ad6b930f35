"""The address that a server listens on, and the connections and hosts that it lets in."""

import asyncio
import re
import socket
from ipaddress import IPv6Address, ip_address
from typing import Any

import h11
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from minillm.errors import InputError, one_line
from minillm.serving.requests import RequestError

MOST = 512  # connections
LONGEST_HEADER = 10  # seconds


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.  InputError for one that cannot be used."""
    if not host:  # it would be every address of this machine
        raise InputError("host: expected an address, found ''")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
        return socket.create_server(address, family=family, backlog=MOST)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while attempting")[0]
    except (ValueError, TypeError):  # no name at all
        reason = "it cannot be the name of a host"
    raise InputError(f"{one_line(host, 60)}:{port}: {reason}")


def is_local(address: str) -> bool:
    """Whether only this machine can reach an address: ``127.0.0.1``, ``127.0.0.2``, ``::1``."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return (mapped or ip).is_loopback


class OnlyLocalHosts:
    """Middleware: requests must name this machine, or ``name``, as their host.

    A web site whose name someone has pointed at this machine can therefore not use the model.
    """

    def __init__(self, app: ASGIApp, name: str):
        self.app, self.name = app, name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        app = self.app if self._allows(Headers(scope=scope).get("host", "")) else self._refused()
        await app(scope, receive, send)

    def _allows(self, header: str) -> bool:
        found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::\d*)?", header)
        host = (found[1] or found[2]).lower() if found else ""
        return host in ("localhost", self.name.lower()) or is_local(host)

    def _refused(self) -> JSONResponse:
        return JSONResponse(RequestError("Host: expected the address of this machine").body, 400)


class Connection(H11Protocol):
    """A connection, which is closed if its next request does not come.

    If there are too many, the one that has been waiting for a request longest is closed.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the header of a request."""
        super().connection_made(transport)
        self._began = self.loop.time()
        self._watch()
        others: Any = self.connections - {self}
        waiting = [some for some in others if some._waits]
        if len(self.connections) >= MOST and waiting:
            oldest = min(waiting, key=lambda some: some._began)
            self.connections.discard(oldest)
            oldest.timeout_keep_alive_handler()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection."""
        super().connection_lost(exc)
        self._watch(ended=True)

    @property
    def _waits(self) -> bool:
        """Whether the header of the next request is not complete."""
        return self.conn.their_state is h11.IDLE

    def _watch(self, ended: bool = False) -> None:
        """Limit the time until a header is complete."""
        if self._waits and not ended:
            close = self.timeout_keep_alive_handler
            self._timer = self._timer or self.loop.call_later(LONGEST_HEADER, close)
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None
