"""Programs whose threads are greenlets, with the real gevent from a package index."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from support.container import Container
from support.ports import free_port
from support.project import marked, wait_until


@pytest.fixture
def packages(installed: Callable[..., dict[str, str]]) -> dict[str, str]:
    """The setting with which a program finds gevent and gunicorn."""
    return installed("gunicorn[gevent]")


PROGRAM = """
from gevent import monkey
monkey.patch_all()
import os, threading, time

ticks = 0

def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.01)

def work(name):
    local = name * 2  # here
    time.sleep(0.01)
    return local

threading.Thread(target=tick, daemon=True).start()
print("up", flush=True)
while not os.path.exists("end"):
    worker = threading.Thread(target=work, args=["a"])
    worker.start()
    worker.join()
    if os.path.exists("count"):
        os.remove("count")
        print("ticks", ticks, flush=True)
print("done", flush=True)
"""


@pytest.mark.parametrize("mode", ["wait", "listen"])
def test_breakpoint_in_a_greenlet_stops(
    container: Container, packages: dict[str, str], mode: str
) -> None:
    """Then come a step, a pause and a second client. In between, the program runs on."""
    path = container.write("p.py", PROGRAM)
    container.start("exec python p.py", mode=mode, **packages)
    if mode == "listen":
        container.says("up")
    for _ in range(2):
        editor = container.attach({path: [marked(path)]})
        stop = editor.stopped()
        assert (stop.line, stop.locals) == (marked(path), {"name": "'a'"})
        after = editor.step(stop)
        assert (after.line, after.locals["local"]) == (marked(path) + 1, "'aa'")
        editor.set_breakpoints(path)
        editor.resume(after)
        counted = len(container.lines)
        container.write("count", "")
        wait_until(lambda n: len(container.lines) > n, counted)
        after.client.request("pause", threadId=after.thread)
        assert editor.stopped().reason == "pause"
        editor.detach()
        container.write("count", "")
        wait_until(lambda n: len(container.lines) > n, counted + 1)
    container.write("end", "")
    assert container.exit_code() == 0
    assert "GEVENT_SUPPORT" not in container.log()


APPLICATION = """
def app(environ, start_response):
    answer = b"answer"
    start_response("200 OK", [])  # here
    return [answer]
"""


@pytest.mark.parametrize("mode", ["wait", "listen"])
def test_worker_of_gunicorn_is_debugged(
    container: Container, packages: dict[str, str], mode: str
) -> None:
    path, port = container.write("web.py", APPLICATION), free_port()
    command = f"exec python -m gunicorn --worker-class gevent --bind 127.0.0.1:{port} web:app"
    container.start(command, mode=mode, **packages)
    if mode == "listen":
        container.says("Booting worker")
    editor = container.attach({path: [marked(path)]})
    container.says("Booting worker")
    wait_until(lambda: f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text())
    # More than once: the worker is not the program that the client attaches to first.
    ask = f"from urllib.request import *\nwhile True: urlopen('http://127.0.0.1:{port}').read()"
    client = subprocess.Popen([sys.executable, "-c", ask])
    try:
        stop = editor.stopped()
    finally:
        client.kill()
        client.wait()
    assert (stop.path, stop.line) == (path, marked(path))
    editor.detach()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=60) as answer:
        assert answer.read() == b"answer"


LATE = """
import gevent
from gevent import _hub_local, monkey
print("attached")  # here
monkey.patch_thread()
print("has begun:", _hub_local.get_hub_if_exists() is not None, flush=True)
"""


def test_hub_of_gevent_has_begun_before_threads_are_patched(
    container: Container, packages: dict[str, str]
) -> None:
    """It imports modules. Behind patched locks, an import that waits would begin the hub again."""
    path = container.write("p.py", LATE)
    container.start("exec python p.py", **packages)
    editor = container.attach({path: [marked(path)]})
    editor.resume(editor.stopped())
    container.says("has begun: True")
    assert container.exit_code() == 0


THREADS = """
import gevent.monkey, threading

gevent.monkey.patch_socket()

def work():
    return 1  # here

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def test_threads_that_stay_threads(container: Container, packages: dict[str, str]) -> None:
    path = container.write("p.py", THREADS)
    container.start("exec python p.py", **packages)
    editor = container.attach({path: [marked(path)]})
    stop = editor.stopped()
    assert stop.line == marked(path)
    editor.resume(stop)
    assert container.exit_code() == 0
