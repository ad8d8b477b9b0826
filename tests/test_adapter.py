"""Whatever connects to the debugger's port, a client can attach afterwards: no Docker."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dap
import pytest
from hooked import free_port, hooked_python, imported
from project import marked, wait_until

PROGRAM = """
import time
print("running")
while True:
    time.sleep(0.05)  # here
"""

# In the folder of the interpreter, beside the hook's own: it keeps a program that starts an adapter
# from going on to it, until there is a file `go`.
GATE = """
import os, subprocess, time
wait = subprocess.Popen.wait
def wait_at_gate(self, *arguments, **options):
    status = wait(self, *arguments, **options)
    while "--for-server" in self.args and not os.path.exists("go"):
        time.sleep(0.01)
    return status
subprocess.Popen.wait = wait_at_gate
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    python = hooked_python(tmp_path_factory.mktemp("hook"))
    (site_packages,) = python.parents[1].glob("lib/python3*/site-packages")
    (site_packages / "gate.py").write_text(GATE)
    (site_packages / "a_gate.pth").write_text("import gate\n")
    return python


class Listening:
    """A program in a folder, in mode listen, whose adapter a client can reach by now."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "train.py"
        self.program.write_text(PROGRAM)
        self.editors: list[dap.Editor] = []
        settings = {"DEBUGPY_MODE": "listen", "DEBUGPY_PORT": free_port()}
        self.port = int(settings["DEBUGPY_PORT"])
        self.process = subprocess.Popen(
            [python, self.program.name],
            cwd=folder,
            env={**os.environ, **settings},
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(self.is_open)

    def is_open(self) -> bool:
        """Tell whether the adapter listens, without a connection to it."""
        with imported("debug_session") as session:
            return session.connections(self.port, session.LISTEN) > 0

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=dap.TIMEOUT)

    def go(self) -> None:
        """Let the program go on to its adapter, and wait until it listens."""
        (self.folder / "go").touch()
        assert "Listening" in self.process.stderr.readline()

    def attach(self) -> dap.Editor:
        editor = dap.Editor()
        self.editors.append(editor)
        connect = {"host": "127.0.0.1", "port": self.port}
        breakpoints = {self.program: [marked(self.program)]}
        editor.attach({"type": "debugpy", "connect": connect}, breakpoints)
        return editor

    def can_be_attached_to(self) -> bool:
        try:
            self.attach()
        except dap.DapError:
            return False
        return True

    def stops(self) -> None:
        """Attach, see the program stop at its breakpoint, and leave."""
        editor = self.attach()
        stop = editor.stopped()
        assert stop.path == self.program
        editor.resume(stop)
        editor.detach()


@pytest.fixture
def listening(python: Path, tmp_path: Path) -> Iterator[Listening]:
    listening = Listening(python, tmp_path)
    yield listening
    for editor in listening.editors:
        editor.close()
    with listening.process:
        listening.process.kill()


def reset(connection: socket.socket) -> None:
    """Close a connection so that the other side sees a reset, as with a scanner of ports."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize(
    "say",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"Content-Length: 99999\r\n\r\n{",
    ],
    ids=["nothing", "HTTP", "TLS", "cut off"],
)
@pytest.mark.parametrize("leave", [socket.socket.close, reset])
def test_a_probe_leaves_the_port_open(listening: Listening, say: bytes, leave) -> None:
    listening.go()
    for _ in range(10):
        connection = listening.connect()
        connection.sendall(say)
        leave(connection)
    listening.stops()
    # Nor does it keep the port from the next program.
    listening.process.kill()
    wait_until(lambda: not listening.is_open())


def test_a_probe_before_the_program_is_ready(listening: Listening) -> None:
    for _ in range(10):
        listening.connect().close()
    listening.go()
    listening.stops()


def test_a_client_before_the_program_is_ready(listening: Listening) -> None:
    thread = threading.Thread(target=listening.attach)
    thread.start()
    listening.go()
    thread.join()
    assert listening.editors[0].stopped().path == listening.program


@pytest.mark.parametrize("requests", [["initialize"], ["initialize", "attach"]])
def test_a_client_that_leaves_half_way(listening: Listening, requests: list[str]) -> None:
    listening.go()
    client = dap.Client("127.0.0.1", listening.port)
    for request in requests:
        sent = client.send(request, adapterID="debugpy", connect={"port": listening.port})
    if requests[-1] == "attach":
        client.event("initialized")
    else:
        client.response(sent)
    client.close()
    # The adapter needs a moment to see that it has left.
    wait_until(listening.can_be_attached_to)
    assert listening.editors[-1].stopped().path == listening.program


def test_a_client_right_after_another(listening: Listening) -> None:
    listening.go()
    for _ in range(20):
        listening.stops()


def test_a_client_while_another_is_there(listening: Listening) -> None:
    listening.go()
    editor = listening.attach()
    stop = editor.stopped()
    with pytest.raises(dap.DapError, match="is already being debugged"):
        listening.attach()
    assert editor.step(stop).path == listening.program


def test_nothing_that_is_sent_waits_for_more(listening: Listening) -> None:
    listening.go()
    stop = listening.attach().stopped()
    connection = "__import__('pydevd').get_global_debugger().reader.sock"
    option = f"{connection}.getsockopt({socket.IPPROTO_TCP}, {socket.TCP_NODELAY})"
    scope = stop.client.request("stackTrace", threadId=stop.thread)["stackFrames"][0]["id"]
    assert stop.client.request("evaluate", expression=option, frameId=scope)["result"] == "1"


@pytest.mark.parametrize("name", ["Client", "Server"])
def test_nothing_that_the_adapter_sends_waits_for_more(name: str) -> None:
    sockets = SimpleNamespace(serve=lambda name, handler: handler)
    with imported("debug_adapter") as adapter:
        adapter.guard(sockets)
    accept = sockets.serve(name, lambda connection: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()):
            connection, _ = server.accept()
            accept(connection)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_another_debugpy_is_left_as_it_is() -> None:
    with imported("debug_adapter") as adapter:
        for sockets in (SimpleNamespace(), SimpleNamespace(serve=lambda address, take: None)):
            before = dict(vars(sockets))
            adapter.guard(sockets)
            assert vars(sockets) == before
