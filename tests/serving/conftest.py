"""A run of a model that chats, and a server of it, for all files."""

import chatting
import pytest

import minillm


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "run"
    return minillm.load(chatting.save(folder, context=1024))


@pytest.fixture(scope="session")
def server(run):
    from running_server import Running  # it skips a test for want of an extra

    with Running(run.answering) as some:
        yield some


@pytest.fixture
def served(monkeypatch):
    """What the verb serves: the server, the host and the port."""
    from minillm.serving import app  # of an extra, too

    found = []

    def serve(server, host, port, started):
        found[:] = server, host, port
        started("http://127.0.0.1:1")
        server.close()

    monkeypatch.setattr(app, "serve", serve)
    return found
