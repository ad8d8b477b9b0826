"""The command `remora relay` connects a client where nothing forwards a port."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support import dap
from support.container import Container
from support.project import Project, marked, wait_until
from support.relayed import Relayed

LOOP = """
import time

number = 0
while True:
    number += 1
    print(number, flush=True)  # here
    time.sleep(0.01)
"""

# The parent waits for its child. The client should open a session for the child.
PARENT = """
import subprocess, sys

if sys.argv[1:]:
    print("child", flush=True)  # here
else:
    subprocess.run([sys.executable, __file__, "child"], check=True)
"""


def relay(container: Container) -> Relayed:
    return Relayed(*container.entering(*container.command("relay")))


def attach(relayed: Relayed, breakpoints: dict[Path, list[int]]) -> dap.Editor:
    editor = dap.Editor()
    connect = {"host": "127.0.0.1", "port": relayed.port}
    editor.attach({"type": "debugpy", "connect": connect}, breakpoints)
    return editor


@pytest.mark.parametrize("mode", ["wait", "listen", "demand", "crash"])
def test_breakpoint_stops_by_relay(container: Container, mode: str) -> None:
    path = container.write("src/loop.py", LOOP)
    container.start("python src/loop.py", mode=mode)
    container.says("Waiting for client" if mode == "wait" else "3")
    with relay(container) as relayed:
        for _ in range(2):  # nothing is left of the first session that would keep out another
            editor = attach(relayed, {path: [marked(path)]})
            stop = editor.stopped()
            assert (stop.path, stop.line) == (path, marked(path))
            editor.detach()
            count = len(container.lines)
            wait_until(lambda n: len(container.lines) > n, count + 10)
        assert relayed.exit_codes() == [0, 0]
        assert relayed.errors() == ""
    # In the modes that open the port on request, nobody has requested it.
    assert container.is_open() == (mode in ("wait", "listen"))


def test_child_has_a_relay_of_its_own(container: Container) -> None:
    path = container.write("src/parent.py", PARENT)
    container.start("python src/parent.py")
    with relay(container) as relayed:
        container.says("Waiting for client")
        editor = attach(relayed, {path: [marked(path)]})
        stop = editor.stopped()
        assert stop.client is not editor.clients[0]
        editor.resume(stop)
        editor.ended()
        assert container.exit_code() == 0
        relayed.exit_codes()  # they end with the container, or before


def test_container_that_ends_ends_the_relay(container: Container) -> None:
    path = container.write("src/loop.py", LOOP)
    container.start("python src/loop.py", mode="listen")
    with relay(container) as relayed:
        editor = attach(relayed, {path: [marked(path)]})
        editor.stopped()
        os.kill(int(container.pid_1()), signal.SIGKILL)
        relayed.exit_codes()
        wait_until(lambda: editor.clients[0].closed)
        container.reader.join(dap.TIMEOUT)


def test_client_that_is_cut_off_lets_the_program_go(container: Container) -> None:
    path = container.write("src/loop.py", LOOP)
    container.start("python src/loop.py", mode="listen")
    with relay(container) as relayed:
        editor = attach(relayed, {path: [marked(path)]})
        editor.stopped()
        (pid,) = container.pids_of_remora("relay")
        container.execute("kill", "-KILL", pid)
        count = len(container.lines)
        wait_until(lambda: len(container.lines) > count + 10)


def test_missing_hub_is_reported(container: Container) -> None:
    container.start("sleep 60", mode="off")
    done = container.remora("relay")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "remora relay: REMORA_MODE is off, so nothing in this container can be debugged\n"
    )


@pytest.mark.docker
def test_relay_works_by_compose_exec(project: Project) -> None:
    """As from a machine that cannot reach a published port."""
    path = project.start(LOOP, REMORA_MODE="wait")
    command = ["docker", "compose", "-f", project.debug_file, "exec", "-T", "train"]
    configuration = project.configuration("train: attach")
    with Relayed(*command, "remora", "relay", folder=project.root) as relayed:
        configuration["connect"]["port"] = relayed.port
        editor = dap.Editor()
        project.editors.append(editor)
        editor.attach(configuration, {path: [marked(path)]})
        stop = editor.stopped()
        assert (stop.path, stop.line, stop.locals["number"]) == (path, marked(path), "1")
        editor.detach()
        assert relayed.exit_codes() == [0]
