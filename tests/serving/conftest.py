"""A run of a model that chats, and a server of it, for each file of tests."""

import chatting
import pytest

import minillm


@pytest.fixture(scope="module")
def run(request, tmp_path_factory):
    """The context is the file's ``CONTEXT``."""
    folder = tmp_path_factory.mktemp("serving") / "run"
    return minillm.load(chatting.save(folder, context=request.module.CONTEXT))


@pytest.fixture(scope="module")
def server(run):
    from running_server import Running  # it skips a test for want of an extra

    with Running(run.answering) as some:
        yield some
