"""A server in a thread of the tests' process, and requests to it."""

import contextlib
import http.client
import json
import queue
import socket
import threading
import time

import pytest

from minillm.decoding import Sampling
from minillm.decoding.chat import Chat

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")

from minillm.serving import app

UVICORN = app.uvicorn.Server


class Running:
    """A server in a thread of this process."""

    def __init__(self, chat, parallel=4, host="127.0.0.1", **sampling):
        """``chat`` answers; or it is a server that has been made."""
        made = isinstance(chat, app.EmbeddingServer)
        self.host = host
        self.server = chat if made else app.Server(chat, "run", parallel, Sampling(**sampling))
        started, self.uvicorn = queue.Queue(), None

        class Recorded(UVICORN):
            def __init__(other, config):
                super().__init__(config)
                self.uvicorn = other

        def serve():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(app.uvicorn, "Server", Recorded)
                app.serve(self.server, host, 0, started.put)

        self.thread = threading.Thread(target=serve)
        self.thread.start()
        self.address = started.get(timeout=30)
        self.port = int(self.address.rpartition(":")[2])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        while self.uvicorn is None:
            time.sleep(0.01)
        self.uvicorn.should_exit = True
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()

    def ask(self, values, path="/v1/chat/completions", method="POST", **headers):
        """The status and the JSON of an answer."""
        body = values if isinstance(values, bytes) else json.dumps(values).encode()
        headers = {"Content-Type": "application/json", **headers}
        answer, text = self.raw(method, path, body if method == "POST" else None, headers)
        return answer.status, json.loads(text)

    def raw(self, *request):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(*request)
            answer = connection.getresponse()
            return answer, answer.read()

    def connect(self, sent=b""):
        connection = socket.create_connection((self.host, self.port), timeout=60)
        connection.sendall(sent)
        return connection

    def post(self, values, path="/v1/chat/completions"):
        """A connection on which a request has been sent."""
        body = json.dumps(values).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return self.connect(head.encode() + body)

    def text(self, values):
        status, answer = self.ask(values)
        assert status == 200, answer
        return answer["choices"][0]["message"]["content"]

    def events(self, values, path="/v1/chat/completions"):
        headers, body = {"Content-Type": "application/json"}, json.dumps({**values, "stream": True})
        answer, text = self.raw("POST", path, body, headers)
        assert answer.headers["content-type"].startswith("text/event-stream")
        *events, last, end = text.decode().split("\n\n")
        assert (last, end) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]

    def streamed(self, values):
        """The text of a stream, and the number of its events."""
        deltas = [event["choices"][0]["delta"] for event in self.events(values)]
        return "".join(delta.get("content", "") for delta in deltas), len(deltas)

    def idle(self):
        """Wait until nothing is being continued."""
        for _ in range(500):
            if not self.server.engine._active and not self.server.engine._queue:
                return
            time.sleep(0.02)
        raise AssertionError("some requests are still active")


def expected(run, messages, length=8, template=None):
    fresh = Chat(run.model, run.tokenizer, template or run.answering.template)
    return "".join(fresh.answer(messages, length, Sampling(temperature=0)))
