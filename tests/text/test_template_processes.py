"""The processes that fill in chat templates: kept, few, replaced, and not shared with a fork."""

import os
import signal
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


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the limit is of CPU time by a timer")
def test_time_for_which_a_process_waits_does_not_count(processes, monkeypatch):
    TEMPLATE.text(talk("a"))
    (process,) = processes.running
    monkeypatch.setattr(chat_template, "SECONDS", 0.2)
    process._process.send_signal(signal.SIGSTOP)
    timer = threading.Timer(0.6, process._process.send_signal, [signal.SIGCONT])
    timer.start()
    assert TEMPLATE.text(talk("a")) == "[A]"
    timer.join()
    assert processes.running == {process}


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


def test_an_interrupt_loses_no_answer_and_leaves_none_for_the_next(processes, monkeypatch):
    original = chat_template.template_processes.json.loads

    def interrupted(line):
        raise KeyboardInterrupt

    monkeypatch.setattr(template_processes.json, "loads", interrupted)
    for _ in range(template_processes.MOST + 1):
        with pytest.raises(KeyboardInterrupt):
            TEMPLATE.text(talk("a"))
    monkeypatch.setattr(template_processes.json, "loads", original)
    assert TEMPLATE.text(talk("b")) == "[B]"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_has_processes_of_its_own():
    TEMPLATE.text(talk("a"))
    before = set(template_processes._processes.running)
    child = os.fork()
    if child == 0:
        right = TEMPLATE.text(talk("b")) == "[B]"
        other = template_processes._processes.running.isdisjoint(before)
        template_processes._end()
        os._exit(0 if right and other else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert TEMPLATE.text(talk("c")) == "[C]"
    assert before <= template_processes._processes.running


def test_a_process_ends_with_the_program_that_started_it(processes):
    TEMPLATE.text(talk("a"))
    (process,) = processes.running
    process._process.stdin.close()
    for _ in range(500):
        if not process.alive():
            break
        time.sleep(0.02)
    assert not process.alive()
