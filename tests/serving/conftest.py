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
