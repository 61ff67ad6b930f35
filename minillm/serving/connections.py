"""The address that a server listens on, and the names by which requests may call it."""

import socket
from ipaddress import ip_address

from minillm.errors import InputError, one_line

MOST = 512  # connections; further ones get status 503


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.  InputError for one that cannot be used."""
    if not host:  # it would be every address of this machine
        raise InputError("expected an address, found ''", "host")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
        return socket.create_server(address, family=family, backlog=MOST)
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
