"""The processes that fill in chat templates: kept, few, replaced, and not shared with a fork."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from minillm.errors import InputError
from minillm.text import ChatTemplate, chat_template, template_processes

pytest.importorskip("jinja2")

TEMPLATE = ChatTemplate("{% for m in messages %}[{{ m.content | upper }}]{% endfor %}")
LOOPS = ChatTemplate(
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
)


def talk(content):
    return [{"role": "user", "content": content}]


@pytest.fixture
def processes(monkeypatch):
    some = template_processes._Processes()
    monkeypatch.setattr(template_processes, "_processes", some)
    yield some
    for process in list(some.running):
        some._end(process)


def test_a_process_is_kept(processes):
    assert TEMPLATE.text(talk("a")) == "[A]"
    (process,) = processes.running
    assert TEMPLATE.text(talk("é\nb")) == "[É\nB]"
    with pytest.raises(InputError):
        ChatTemplate("{% if %}").text(talk("a"))
    assert processes.running == {process}


def test_many_threads_share_a_few_processes(processes):
    texts = {}

    def fill_in(k):
        texts[k] = TEMPLATE.text(talk(f"t{k}"))

    threads = [threading.Thread(target=fill_in, args=(k,)) for k in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {k: f"[T{k}]" for k in range(50)}
    assert len(processes.running) <= template_processes.MOST


@pytest.mark.deep
def test_a_process_that_was_stopped_is_replaced(processes, monkeypatch):
    monkeypatch.setattr(chat_template, "SECONDS", 0.3)
    for _ in range(template_processes.MOST + 1):
        with pytest.raises(InputError, match="it was stopped after 0"):
            LOOPS.text(talk("a"))
        assert not processes.running
    assert TEMPLATE.text(talk("a")) == "[A]"


def test_a_process_that_has_ended_is_replaced(processes):
    TEMPLATE.text(talk("a"))
    (process,) = processes.running
    process._process.kill()
    process._process.wait()
    assert TEMPLATE.text(talk("a")) == "[A]"


@pytest.mark.deep
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no timer of CPU time")
def test_time_for_which_a_process_waits_does_not_count():
    program = """
import time
from minillm.text import jinja_process

def filler(source):
    time.sleep(0.6)
    return lambda values: jinja_process.ours("filled")

jinja_process.filler = filler
jinja_process.main()
"""
    asked = json.dumps({"source": "", "values": {}, "seconds": 0.2}) + "\n"
    result = subprocess.run(
        [sys.executable, "-c", program, ""], input=2 * asked, capture_output=True, text=True
    )
    assert result.stdout == 2 * '{"text": "filled", "by": "tttttt"}\n'


def test_a_lack_of_time_is_not_the_fault_of_the_template(processes, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(template_processes, "LONGEST_ANSWER", 0.3)
        with pytest.raises(template_processes.NoTime):
            LOOPS.text(talk("a"))
    monkeypatch.setattr(template_processes, "LONGEST_WAIT", 0.01)
    taken = [processes._free.get() for _ in range(template_processes.MOST)]
    with pytest.raises(template_processes.NoTime):
        TEMPLATE.text(talk("a"))
    for process in taken:
        processes._free.put(process)
    assert TEMPLATE.text(talk("a")) == "[A]"


def test_an_interrupt_leaves_no_answer_for_the_next_template(processes):
    class Interrupted:
        def __init__(self, process):
            self.process, self.original = process, process.stdout

        def readline(self):
            self.process.stdout = self.original
            raise KeyboardInterrupt

    for _ in range(template_processes.MOST + 1):
        assert TEMPLATE.text(talk("a")) == "[A]"
        (process,) = processes.running
        process._process.stdout = Interrupted(process._process)
        with pytest.raises(KeyboardInterrupt):
            TEMPLATE.text(talk("b"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_has_processes_of_its_own(processes, monkeypatch):
    """Even if threads that it does not have are using all of them."""
    TEMPLATE.text(talk("a"))
    before = set(processes.running)
    monkeypatch.setattr(template_processes, "LONGEST_WAIT", 0.01)
    taken = [processes._free.get() for _ in range(template_processes.MOST)]
    child = os.fork()
    if child == 0:
        right = False
        with contextlib.suppress(InputError):
            right = TEMPLATE.text(talk("b")) == "[B]"
        other = template_processes._processes.running.isdisjoint(before)
        template_processes._end()
        os._exit(0 if right and other else 1)
    assert os.waitpid(child, 0)[1] == 0
    for process in reversed(taken):
        processes._free.put(process)
    assert TEMPLATE.text(talk("c")) == "[C]"
    assert processes.running == before


def test_a_process_ends_with_the_program_that_started_it(processes):
    TEMPLATE.text(talk("a"))
    (process,) = processes.running
    process._process.stdin.close()
    for _ in range(500):
        if not process.alive():
            break
        time.sleep(0.02)
    assert not process.alive()
