"""The hub by itself: whatever programs, clients and strangers do, it serves the next client.

Processes in a PID namespace stand for programs. They hand their connections to the tests, which
speak as engines do. No Docker, and no pydevd.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from support import dap
from support.container import NAMESPACES, Container, debug_python, imported
from support.ports import free_port, listening_here
from support.project import wait_until

# Keep hypothesis's cache out of the work tree.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")

PATH = Path("/app/p.py")

# PID 1 of the namespace. On request, it starts the hub, and processes that connect to the hub.
AGENT = r"""
import os, signal, socket, sys

home, channel = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
namespace = os.stat("/proc/self/ns/pid").st_ino

def work(orders):
    while order := orders.recv(9):
        if order == b"deaf":
            signal.signal(signal.SIGURG, lambda *_: None)
            orders.send(b".")
            continue
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"\0remora-{namespace}-hub")
            socket.send_fds(orders, [b"."], [connection.fileno()])

ready, is_ready = os.pipe()
if os.fork() == 0:
    os.set_inheritable(is_ready, True)
    main = f"{home}/_remora/__main__.py"
    os.execv(sys.executable, [sys.executable, "-I", "-S", main, "hub", str(is_ready)])
os.close(is_ready)
os.read(ready, 1)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
channel.send(str(namespace).encode())
while channel.recv(9):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        channel.close()
        ours.close()
        work(theirs)
        os._exit(0)
    socket.send_fds(channel, [str(pid).encode()], [ours.fileno()])
    ours.close()
    theirs.close()
"""


class World:
    """A PID namespace with a hub, and processes that can connect to it."""

    def __init__(self, home: Path, mode: str = "listen") -> None:
        self.port = free_port()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(dap.TIMEOUT)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        log = str(home / f"hub-{self.port}.log")
        self.agent = subprocess.Popen(
            [*NAMESPACES, sys.executable, "-I", "-S", "-c", AGENT, home, str(theirs.fileno())],
            env=inherited | {"REMORA_MODE": mode, "REMORA_PORT": str(self.port), "REMORA_LOG": log},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        self.log = Path(log)
        self.workers: list[Worker] = []
        self.name = f"\0remora-{self._channel.recv(100).decode()}-"
        self.hub = self._visit()
        self.before = self.descriptors()

    def _visit(self) -> int:
        """Connect to the hub, which refuses a process from outside. Return the hub's pid."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(dap.TIMEOUT)
            connection.connect(f"{self.name}hub")
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            assert connection.recv(1) == b""
        return struct.unpack("3i", peer)[0]

    def worker(self) -> Worker:
        """Return a new process in the namespace."""
        self._channel.send(b"new")
        text, (descriptor,), _, _ = socket.recv_fds(self._channel, 100, 1)
        self.workers.append(Worker(int(text), socket.socket(fileno=descriptor)))
        return self.workers[-1]

    def client(self, **options: Any) -> dap.Client:
        return dap.Client("127.0.0.1", self.port, **options)

    def descriptors(self) -> int:
        """Return how many descriptors the hub has. Fails if the hub has ended."""
        return len(os.listdir(f"/proc/{self.hub}/fd"))

    def has_nothing_left(self) -> None:
        """Wait until the hub is as it was before all programs and clients, and has no child."""
        # After a few answers, the hub has handled everything that has arrived.
        for _ in range(3):
            self._visit()
        wait_until(lambda: self.descriptors() == self.before)
        assert Path(f"/proc/{self.hub}/task/{self.hub}/children").read_text() == ""

    def status(self) -> dict[str, Any]:
        """Return the hub's answer to `remora status`."""
        with self.worker().connect() as connection:
            connection.settimeout(dap.TIMEOUT)
            connection.sendall(b'{"ask": "status"}\n')
            return json.loads(connection.makefile("rb").readline())

    def has_no_session(self) -> bool:
        """Tell whether the hub has no client, and no program that serves one."""
        status = self.status()
        is_shown = any(program["is_shown"] for program in status["programs"].values())
        names = Path("/proc/net/unix").read_text()
        return not (status["is_attached"] or is_shown or f"@{self.name[1:]}attached\n" in names)

    def serves(self) -> None:
        """Check that a client can debug a program, and that both leave nothing behind."""
        client = self.client()
        client.attach({"type": "debugpy"}, {})
        found = client.set_breakpoints(PATH, 3, 5)
        assert [b["verified"] for b in found] == [False, False]
        engine = Engine(self.worker(), forked=True)
        engine.asked("configurationDone")
        assert engine.breakpoints == {str(PATH): [3, 5]}
        changed = [client.event("breakpoint")["breakpoint"] for _ in found]
        assert [b["id"] for b in changed] == [b["id"] for b in found]
        assert [b["verified"] for b in changed] == [True, True]
        engine.stop()
        stopped = client.event("stopped")
        assert (stopped["threadId"], stopped["hitBreakpointIds"]) == (1, [found[0]["id"]])
        client.request("continue", threadId=1)
        assert engine.asked("continue") == {"threadId": "*"}
        client.request("disconnect", terminateDebuggee=False)
        engine.closed()
        client.close()
        engine.end()
        self.has_nothing_left()

    def close(self) -> None:
        for worker in self.workers:
            worker.end()
        self._channel.close()
        self.agent.kill()
        self.agent.wait()


class Worker:
    """A process of the namespace, which only connects to the hub."""

    def __init__(self, pid: int, orders: socket.socket) -> None:
        self.pid, self._orders = pid, orders
        orders.settimeout(dap.TIMEOUT)

    def catch_signal(self) -> None:
        """Install a handler for the hub's signal. The handler does nothing."""
        self._orders.send(b"deaf")
        assert self._orders.recv(1) == b"."

    def connect(self) -> socket.socket:
        """Return a connection to the hub. The kernel attributes it to this process."""
        self._orders.send(b"connect")
        _, (descriptor,), _, _ = socket.recv_fds(self._orders, 1, 1)
        return socket.socket(fileno=descriptor)

    def end(self) -> None:
        self._orders.close()


class Engine:
    """A program's connection, which answers the hub as pydevd does."""

    def __init__(self, worker: Worker, **facts: Any) -> None:
        self.worker = worker
        self.answer: dict[str, Any] | None = None
        self.requests: list[tuple[str, Any]] = []
        self.breakpoints: dict[str, list[int]] = {}
        self.is_closed = False
        # What the engine sends right after its response to `continue`
        self.says_more = b""
        self._ids: list[int] = []
        self._arrival = threading.Condition()
        self._connection = worker.connect()
        self._connection.settimeout(dap.TIMEOUT)
        self.write(json.dumps({"command": ["python", "p.py"], **facts}).encode() + b"\n")
        threading.Thread(target=self._read, daemon=True).start()

    def write(self, data: bytes) -> None:
        with suppress(OSError):  # the hub has closed it
            self._connection.sendall(data)

    def _send(self, **message: Any) -> None:
        self.write(framed(json.dumps(dict(message, seq=0)).encode()))

    def event(self, name: str, body: Any) -> None:
        self._send(type="event", event=name, body=body)

    def stop(self) -> None:
        """Stop in thread 1, at the first breakpoint if there is one."""
        self.event("process", {"name": "p.py"})
        self.event("thread", {"reason": "started", "threadId": 1})
        body = {"threadId": 1, "reason": "breakpoint", "hitBreakpointIds": self._ids[:1]}
        self.event("stopped", body)

    def _read(self) -> None:
        stream = self._connection.makefile("rb")
        try:
            answer = json.loads(stream.readline() or "null")
            with self._arrival:
                self.answer = answer or {"engine": False}
                self._arrival.notify_all()
            while header := stream.readline():
                stream.readline()
                request = json.loads(stream.read(int(header.split()[1])))
                with self._arrival:
                    self.requests.append((request["command"], request["arguments"]))
                    self._respond(request)
                    self._arrival.notify_all()
        except (OSError, ValueError):
            pass  # cut off
        stream.close()
        self._connection.close()
        with self._arrival:
            self.is_closed = True
            self.answer = self.answer or {"engine": False}
            self._arrival.notify_all()

    def _respond(self, request: dict[str, Any]) -> None:
        command, arguments = request["command"], request["arguments"]
        body: dict[str, Any] = {}
        if command == "setBreakpoints":
            lines = [b["line"] for b in arguments["breakpoints"]]
            self.breakpoints[arguments["source"]["path"]] = lines
            self._ids = [1000 + line for line in lines]
            found = [{"id": 1000 + line, "verified": True, "line": line} for line in lines]
            body = {"breakpoints": found}
        elif command == "threads":
            body = {"threads": [{"id": 1, "name": "MainThread"}]}
        elif command == "evaluate":
            body = {"result": "1", "variablesReference": 0}
        answer = {"type": "response", "request_seq": request["seq"], "command": command}
        data = framed(json.dumps(dict(answer, seq=0, success=True, body=body)).encode())
        self.write(data + (self.says_more if command == "continue" else b""))
        if command == "disconnect" and arguments.get("terminateDebuggee"):
            self.end("terminated")

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._arrival:
            assert self._arrival.wait_for(condition, dap.TIMEOUT), self.requests

    def is_wanted(self) -> bool:
        """Wait for the hub's answer, and tell whether the hub wants the program's engine."""
        self._wait(lambda: self.answer is not None)
        return bool(self.answer and self.answer["engine"])

    def asked(self, command: str) -> Any:
        """Wait for a request, and return its arguments."""
        self._wait(lambda: any(name == command for name, _ in self.requests))
        return next(arguments for name, arguments in self.requests if name == command)

    def closed(self) -> None:
        """Wait until the hub lets the program run on."""
        self._wait(lambda: self.is_closed)

    def end(self, how: str = "closed") -> None:
        """End the program: by the event `terminated`, with its process, or with its connection."""
        if how == "terminated":
            self.event("terminated", {})
        if how != "closed":
            self.worker.end()
        self.leave()

    def leave(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def framed(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def requested(command: Any, arguments: Any = None, seq: Any = 1) -> bytes:
    """Return a request as the bytes to send."""
    message = {"seq": seq, "type": "request", "command": command, "arguments": arguments}
    return framed(json.dumps(message).encode())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the hub, and the hub's Python."""
    return debug_python(tmp_path_factory.mktemp("image")).parents[2] / "remora"


@contextmanager
def running(home: Path, mode: str = "listen") -> Iterator[World]:
    world = World(home, mode)
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def world(home: Path, tmp_path: Path) -> Iterator[World]:
    Container(home, tmp_path)  # which skips the test where there are no namespaces
    with running(home) as world:
        yield world


# ---- What a stranger sends to the port ----

INITIALIZE = requested("initialize", {"clientID": "vscode", "adapterID": "debugpy"})
ATTACH = requested("attach", {"type": "debugpy"}, 2)

JUNK = {
    "nothing": b"",
    "HTTP": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(range(256)),
    "a newline": b"\n",
    "zeros": bytes(100_000),
    "a header without end": b"Content-Length: 10",
    "a long header": b"X: " + b"x" * 100_000 + b"\r\n\r\n",
    "many headers": b"X: y\r\n" * 20_000,
    "no length": b"Content-Type: x\r\n\r\n{}",
    "an empty length": b"Content-Length: \r\n\r\n{}",
    "a negative length": b"Content-Length: -1\r\n\r\n{}",
    "a signed length": b"Content-Length: +2\r\n\r\n{}",
    "a length of other digits": "Content-Length: \u00b2\u0662\r\n\r\n{}".encode(),
    "a huge length": b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "a length above the limit": b"Content-Length: 67108865\r\n\r\n{}",
    "a length of more than comes": b"Content-Length: 1000\r\n\r\n{}",
    "a length of 0": b"Content-Length: 0\r\n\r\n",
    "bad JSON": framed(b"{]"),
    "bad UTF-8": framed(b'{"type": "\xff"}'),
    "UTF-16": framed('{"type": "request"}'.encode("utf-16")),
    "a list": framed(b"[1]"),
    "a number": framed(b"1"),
    "a number of many digits": framed(b"1" * 100_000),
    "null": framed(b"null"),
    "an empty object": framed(b"{}"),
    "an event": framed(b'{"type": "event", "event": "stopped", "body": {}}'),
    "a response": framed(b'{"type": "response", "request_seq": 1, "success": true}'),
    "lists in lists": framed(b"[" * 200_000),
    "objects in objects": framed(b'{"a":' * 100_000),
    "objects in an object": framed(b'{"seq":' + b'{"a":' * 900 + b"1" + b"}" * 901),
    "no seq": requested("initialize", {}, None),
    "seq is a text": requested("initialize", {}, "1"),
    "seq is a boolean": requested("initialize", {}, True),
    "command is a list": requested(["initialize"]),
    "command is unknown": requested("launch", {}),
    "command is a method": requested("_start", {}),
    "command is surrogates": framed(b'{"seq": 1, "type": "request", "command": "\\ud800"}'),
    "initialize with a list": requested("initialize", [1]),
    "initialize with a number": requested("initialize", {"clientID": 1}),
    "initialize, then junk": INITIALIZE + b"junk\r\n\r\n",
    "initialize, then half a frame": INITIALIZE + ATTACH[:-5],
    "attach first": ATTACH,
    "attach, with mappings that are none": INITIALIZE + requested("attach", {"pathMappings": "x"}),
    "attach, with a mapping that is none": INITIALIZE
    + requested("attach", {"pathMappings": [["/a", "/b"]]}),
    "attach, with a list": INITIALIZE + requested("attach", [1]),
    "attach, with a pid that is none": INITIALIZE + requested("attach", {"subProcessId": "1"}),
    "attach to a child that is none": INITIALIZE + requested("attach", {"subProcessId": 2**80}),
    "configurationDone first": requested("configurationDone"),
    "disconnect first": requested("disconnect", {"terminateDebuggee": True}),
    # These attach, and leave before the hub has finished.
    "attach with what is not for the hub": INITIALIZE
    + requested("attach", {"program": 1, "processId": 1, "listen": [], "request": 0}),
    "attach": INITIALIZE + ATTACH,
    "attach, then junk": INITIALIZE + ATTACH + b"junk\r\n\r\n",
    "attach, then disconnect": INITIALIZE + ATTACH + requested("disconnect", {}, 3),
    "attach, then terminate": INITIALIZE + ATTACH + requested("terminate", {}, 3),
    "attach twice": INITIALIZE + ATTACH + ATTACH,
    "attach, then all at once": INITIALIZE
    + ATTACH
    + requested("setBreakpoints", {"source": {"path": "/p.py"}, "breakpoints": [{"line": 1}]}, 3)
    + requested("configurationDone", {}, 4),
}


def break_off(connection: socket.socket) -> None:
    """Close a connection so that the other side gets a reset (RST) instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def send_and_leave(world: World, data: bytes, end: str) -> None:
    """Send something to the port, and leave: at once, by a reset, or after the answer."""
    connection = socket.create_connection(("127.0.0.1", world.port), timeout=dap.TIMEOUT)
    with connection, suppress(OSError):  # the hub may close first
        connection.sendall(data)
        if end == "reset":
            break_off(connection)
        elif end == "end":
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


@pytest.mark.parametrize("name", JUNK)
def test_stranger_does_no_harm(world: World, name: str) -> None:
    for end in ("end", "close", "reset"):
        send_and_leave(world, JUNK[name], end)
    world.has_nothing_left()
    world.serves()
    assert "Traceback" not in world.log.read_text()


def test_junk_is_ended_by_the_hub(world: World) -> None:
    """The hub closes connections that do not speak DAP, or they could wait without end."""
    for name in ("HTTP", "a newline", "a negative length", "bad JSON", "a list"):
        with socket.create_connection(("127.0.0.1", world.port), dap.TIMEOUT) as connection:
            with suppress(ConnectionError):
                connection.sendall(JUNK[name])
                assert connection.recv(1) == b"", name
    world.has_nothing_left()


def test_junk_does_not_disturb_a_session(world: World) -> None:
    """A session belongs to its client: strangers and other clients do not change it."""
    client = world.client()
    client.attach({"type": "debugpy"}, {PATH: [3]})
    engine = Engine(world.worker(), forked=True)
    engine.asked("configurationDone")
    for data in JUNK.values():
        send_and_leave(world, data, "end")
    requests = list(engine.requests)
    assert client.request("threads") == {"threads": [{"id": 1, "name": "MainThread"}]}
    assert engine.requests == [*requests, ("threads", {})]
    client.close()
    engine.closed()
    world.has_nothing_left()


@pytest.mark.parametrize("limit", [150, 1024])
def test_idle_connections_do_not_keep_a_client_out(world: World, limit: int) -> None:
    """Even more connections than the hub may open files do not keep a client out."""
    resource.prlimit(world.hub, resource.RLIMIT_NOFILE, (limit, limit))
    idle = []
    for _ in range(300):
        idle.append(socket.create_connection(("127.0.0.1", world.port), timeout=dap.TIMEOUT))
    client = world.client()
    client.attach({"type": "debugpy"}, {})
    for connection in idle:
        connection.close()
    client.close()
    world.has_nothing_left()
    world.serves()


def ask_without_reading(world: World, first: bytes) -> socket.socket:
    """Return a connection that has sent requests, and read no answers, until the hub is full."""
    connection = socket.socket()
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        connection.setsockopt(socket.SOL_SOCKET, buffer, 4096)
    connection.connect(("127.0.0.1", world.port))
    connection.sendall(first)
    connection.settimeout(1)
    with suppress(TimeoutError):
        for _ in range(10_000):
            connection.sendall(requested("x") * 100)
        pytest.fail("the hub keeps all answers for a client that reads none")
    return connection


@pytest.mark.parametrize("has_attached", [True, False])
def test_client_that_does_not_read_does_no_harm(world: World, has_attached: bool) -> None:
    """The hub waits for a client that sends and never reads, and meanwhile serves others."""
    first = INITIALIZE + (ATTACH if has_attached else b"")
    connections = [ask_without_reading(world, first) for _ in range(3)]
    assert world.status()["is_attached"] is False
    for connection in connections:
        connection.close()
    world.has_nothing_left()
    world.serves()


def test_client_that_is_replaced_and_does_not_read_does_no_harm(world: World) -> None:
    """The client has not configured its session, so the next client replaces it."""
    with ask_without_reading(world, INITIALIZE + ATTACH):
        world.serves()  # and has nothing left, although this connection is open


# ---- Requests of a client ----


def right(kind: Any) -> Any:
    """Return a value of a type in REQUESTS of protocol.py."""
    if isinstance(kind, dict):
        return {key[:-1]: right(of) for key, of in kind.items() if key.endswith("!")}
    if isinstance(kind, list):
        return []
    kind = kind[0] if isinstance(kind, tuple) else kind
    return {bool: True, int: 1, float: 1.5, str: "x", dict: {}}[kind]


def wrong(kind: Any) -> list[Any]:
    """Return values that look like a type, but contain `poison` in one place."""
    if isinstance(kind, dict):
        found: list[Any] = ["poison", ["poison"]]
        for key, of in kind.items():
            name = key.rstrip("!")
            found += [{**right(kind), name: value} for value in wrong(of)]
        return found
    if isinstance(kind, list):
        return ["poison", {"poison": 1}, *([value] for value in wrong(kind[0]))]
    if kind is str:
        return [["poison"], {"poison": 1}]
    return ["poison", ["poison"]]


def wrong_requests() -> list[tuple[str, Any]]:
    with imported("remora.hub.protocol") as protocol:
        return [(c, value) for c, kind in protocol.REQUESTS.items() for value in wrong(kind)]


# About one for each field of all requests
WRONG = wrong_requests()

# Requests that any client may send at any time, with or without a session.
RIGHT = [
    ("threads", {}),
    ("evaluate", {"expression": "1", "frameId": 1, "unknown": "poison"}),
    ("continue", {"threadId": 1, "unknown": ["poison"]}),
    ("pause", {"threadId": 1}),
    ("next", {"threadId": 1}),
    ("stackTrace", {"threadId": 1}),
    ("setBreakpoints", {"source": {"path": str(PATH)}, "breakpoints": [{"line": 3}]}),
    ("setBreakpoints", {"source": {"path": str(PATH)}, "breakpoints": []}),
    ("setBreakpoints", {"source": {"path": ""}, "breakpoints": [{"line": 3}]}),
    ("setExceptionBreakpoints", {"filters": ["uncaught"]}),
    ("setFunctionBreakpoints", {"breakpoints": [{"name": "f"}]}),
    ("configurationDone", {}),
    ("debugpySystemInfo", {}),
    ("modules", {}),
]


def test_wrong_requests_do_not_reach_a_program(world: World) -> None:
    client = world.client()
    client.attach({"type": "debugpy", "processId": "poison"}, {PATH: [3]})
    engine = Engine(world.worker(), forked=True)
    engine.asked("configurationDone")
    before = list(engine.requests)
    assert len(WRONG) > 200
    for command, arguments in WRONG:
        if not isinstance(arguments, dict):
            continue
        with pytest.raises(dap.DapError):
            client.request(command, **arguments)
    assert client.request("evaluate", expression="1", unknown="poison")["result"] == "1"
    assert engine.requests == [*before, ("evaluate", {"expression": "1"})]
    assert "poison" not in json.dumps(engine.requests)
    client.close()


@pytest.mark.parametrize("levels", [900, 950, 970, 980, 985, 990])
def test_deep_attach_harms_only_its_client(world: World, levels: int) -> None:
    """The hub can read an attach that it cannot write. No program may suffer from that."""
    connect = b'{"a":' * levels + b"1" + b"}" * levels
    attach = b'{"seq": 2, "type": "request", "command": "attach", "arguments": {"connect": %b}}'
    with socket.create_connection(("127.0.0.1", world.port), dap.TIMEOUT) as connection:
        with suppress(OSError):  # the hub may close first
            connection.sendall(INITIALIZE + framed(attach % connect))
            connection.sendall(requested("configurationDone", {}, 3))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    world.has_nothing_left()
    world.serves()


# ---- Rare moments ----


@pytest.mark.parametrize("leaves", ["close", "reset", "disconnect"])
def test_client_that_leaves_while_it_attaches_gets_no_session(world: World, leaves: str) -> None:
    """A client gets no session if it leaves before the hub has a program for it."""
    deaf = world.worker()
    deaf.catch_signal()
    connection = socket.create_connection(("127.0.0.1", world.port), timeout=dap.TIMEOUT)
    connection.sendall(INITIALIZE + ATTACH)
    wait_until(lambda: f"@{world.name[1:]}attached\n" in Path("/proc/net/unix").read_text())
    if leaves == "disconnect":
        connection.sendall(requested("disconnect", {}, 3))
        while connection.recv(65536):
            pass
    if leaves == "reset":
        break_off(connection)
    connection.close()
    world.has_nothing_left()
    # The program joins by itself, and waits for the next client, because nobody else is there.
    engine = Engine(deaf, held=True)
    assert engine.is_wanted()
    client = world.client()
    client.attach({"type": "debugpy"}, {PATH: [3]})
    engine.asked("configurationDone")
    names = [name for name, _ in engine.requests]
    assert names == ["initialize", "attach", "setBreakpoints", "configurationDone"]
    client.close()
    engine.closed()
    world.has_nothing_left()


def test_programs_that_come_at_once_get_sessions(world: World) -> None:
    """A client shows one of the programs, and hears of the others."""
    client = world.client()
    client.attach({"type": "debugpy"}, {PATH: [3]})
    workers = [world.worker() for _ in range(4)]
    os.kill(world.hub, signal.SIGSTOP)  # so that the hub finds all of them at once
    engines = [Engine(worker, forked=True) for worker in workers]
    os.kill(world.hub, signal.SIGCONT)
    for engine in engines:
        assert engine.asked("configurationDone") == {}
        assert engine.breakpoints == {str(PATH): [3]}
    offered = [client.event("debugpyAttach")["subProcessId"] for _ in engines[1:]]
    (shown,) = (engine for engine in engines if engine.worker.pid not in offered)
    for engine in engines:
        engine.stop()
    client.event("stopped")
    client.request("continue", threadId=1)
    shown.asked("continue")
    # Events of the others go to the sessions that the client opens for them.
    client.request("threads")
    assert not any('"stopped"' in line for line in client.traffic[-3:])
    assert sum('"event": "stopped"' in line for line in client.traffic) == 1
    client.close()
    for engine in engines:
        engine.closed()
    world.has_nothing_left()


def test_next_program_waits_until_its_client_has_configured(home: Path, tmp_path: Path) -> None:
    """The next program waits until the client has set its breakpoints."""
    Container(home, tmp_path)
    with running(home, "wait") as world:
        first = Engine(world.worker(), held=True)
        assert first.is_wanted()
        second = Engine(world.worker(), held=True)
        assert second.is_wanted()
        client = world.client()
        client.request("initialize", clientID="vscode")
        attached = client.send("attach", type="debugpy")
        client.event("initialized")
        client.set_breakpoints(PATH, 3)
        first.asked("setBreakpoints")
        first.end("killed")
        # The client now shows the second program, which learns everything known so far.
        second.asked("attach")
        found = client.set_breakpoints(PATH, 3, 5)
        assert [b["verified"] for b in found] == [True, True]
        assert not any(name == "configurationDone" for name, _ in second.requests)
        client.request("configurationDone")
        client.response(attached)
        second.asked("configurationDone")
        assert second.breakpoints == {str(PATH): [3, 5]}
        names = [name for name, _ in second.requests]
        assert names.index("configurationDone") > names.index("setBreakpoints")
        client.close()


def test_client_does_not_wait_for_initialized(world: World) -> None:
    """A client may set breakpoints before the hub has a program for it: they are kept."""
    deaf = world.worker()
    deaf.catch_signal()
    client = world.client()
    client.request("initialize", clientID="vscode")
    client.send("attach", type="debugpy")
    client.set_breakpoints(PATH, 3)
    engine = Engine(deaf, asked=True)
    client.event("initialized")
    client.request("configurationDone")
    engine.asked("configurationDone")
    assert engine.breakpoints == {str(PATH): [3]}
    client.close()
    engine.closed()
    world.has_nothing_left()


def test_events_come_after_responses(world: World) -> None:
    """An editor ignores a stop that it hears of before the response to `continue`."""
    client = world.client()
    client.attach({"type": "debugpy"}, {PATH: [3]})
    engine = Engine(world.worker(), forked=True)
    engine.asked("configurationDone")
    event = {"type": "event", "event": "stopped", "body": {"threadId": 1, "reason": "step"}}
    engine.says_more = framed(json.dumps(event).encode())
    client.request("continue", threadId=1)
    client.event("stopped")
    lines = [line for line in client.traffic if '"continue"' in line or '"stopped"' in line]
    assert ['"response"' in line for line in lines] == [False, True, False]
    client.close()


def test_many_programs_at_once_are_served(world: World) -> None:
    """A program waits for the hub, even if many others ask at the same moment."""
    worker = world.worker()
    os.kill(world.hub, signal.SIGSTOP)
    connections = [worker.connect() for _ in range(200)]
    os.kill(world.hub, signal.SIGCONT)
    for connection in connections:
        connection.close()
    world.has_nothing_left()
    world.serves()


# ---- Junk from a process in the container ----

LOCAL_JUNK = {
    "nothing": b"",
    "no JSON": b"GET / HTTP/1.1\r\n\r\n",
    "a list": b"[]\n",
    "a list with ask": b'["ask"]\n',
    "a text": b'"ask"\n',
    "lists in lists": b"[" * 200_000 + b"\n",
    "bad UTF-8": b"\xff\n",
    "an unknown question": b'{"ask": ["x"]}\n',
    "pids that are none": b'{"ask": "attach", "pids": [[]]}\n',
    "pids that are a number": b'{"ask": "attach", "pids": 1}\n',
    "a command that is none": b'{"asked": true, "command": 1}\n',
    "a program, then junk": b'{"asked": true}\njunk\r\n\r\n',
    "a program, then a number": b'{"asked": true}\n' + framed(b"1"),
}


@pytest.mark.parametrize("name", LOCAL_JUNK)
def test_stranger_in_the_container_does_no_harm(world: World, name: str) -> None:
    for reads in (True, False):
        with world.worker().connect() as connection:
            connection.settimeout(dap.TIMEOUT)
            connection.sendall(LOCAL_JUNK[name])
            with suppress(OSError):  # the hub may close first
                if reads:
                    connection.shutdown(socket.SHUT_WR)
                while reads and connection.recv(65536):
                    pass
    world.has_nothing_left()
    world.serves()
    assert "Traceback" not in world.log.read_text()


# Messages of an engine that make no sense
ENGINE_JUNK = {
    "junk": b"junk\r\n\r\n",
    "a number": framed(b"1"),
    "half a frame": b"Content-Length: 10\r\n\r\n{",
    "a response to a list": framed(b'{"type": "response", "request_seq": []}'),
    "a response to nothing": framed(b'{"type": "response", "request_seq": 99, "success": true}'),
    "a request": framed(b'{"seq": 1, "type": "request", "command": "runInTerminal"}'),
    "an event without a name": framed(b'{"type": "event"}'),
    "a body that is a list": framed(b'{"type": "event", "event": "stopped", "body": [1]}'),
    "a thread that is a list": framed(
        b'{"type": "event", "event": "stopped", "body": {"threadId": []}}'
    ),
    "a breakpoint that is a text": framed(
        b'{"type": "event", "event": "breakpoint", "body": {"breakpoint": "x"}}'
    ),
    "ids that are a number": framed(
        b'{"type": "event", "event": "stopped", "body": {"threadId": 1, "hitBreakpointIds": 1}}'
    ),
}


@pytest.mark.parametrize("name", ENGINE_JUNK)
def test_engine_that_makes_no_sense_does_no_harm(world: World, name: str) -> None:
    """The engine ends, or the hub ignores the message. The client's session continues."""
    client = world.client()
    client.attach({"type": "debugpy"}, {PATH: [3]})
    engine = Engine(world.worker(), forked=True)
    engine.asked("configurationDone")
    engine.write(ENGINE_JUNK[name])
    client.request("threads")
    engine.end("killed")
    following = Engine(world.worker(), forked=True)
    following.asked("configurationDone")
    following.stop()
    client.event("stopped")
    client.request("disconnect")
    client.close()
    following.closed()
    world.has_nothing_left()
    assert "Traceback" not in world.log.read_text()


# ---- Any events, in any order ----

FACTS = [{"held": True}, {"crashed": True}, {"asked": True}, {"forked": True}, {}]
CONFIGURE: list[tuple[str, dict[str, Any]]] = [
    ("initialize", {"clientID": "vscode"}),
    ("attach", {"type": "debugpy"}),
    ("setBreakpoints", {"source": {"path": str(PATH)}, "breakpoints": [{"line": 3}]}),
    ("setExceptionBreakpoints", {"filters": []}),
    ("configurationDone", {}),
]
number = st.integers(0, 9)


class AnySequence(RuleBasedStateMachine):
    """Programs, clients and strangers come, do things and leave, without waiting for answers.

    After each sequence, the hub serves a client and a program as if nothing had happened.
    """

    home: Path

    @initialize(mode=st.sampled_from(["listen", "wait", "crash"]))
    def start(self, mode: str) -> None:
        self.world = World(self.home, mode)
        self.engines: list[Engine] = []
        self.all_engines: list[Engine] = []
        self.idle: list[Worker] = []
        self.deaf: list[Worker] = []
        self.clients: list[dap.Client] = []
        self.sockets: list[socket.socket] = []
        if mode == "crash":
            # The crashed program opens the port.
            first = self.comes(self.world.worker(), {"crashed": True})
            assert first.is_wanted()
            self.world.before += 1

    def comes(self, worker: Worker, facts: dict[str, Any]) -> Engine:
        engine = Engine(worker, **facts)
        self.engines.append(engine)
        self.all_engines.append(engine)
        return engine

    @rule(facts=st.sampled_from(FACTS), count=st.integers(1, 3))
    def programs_come(self, facts: dict[str, Any], count: int) -> None:
        for worker in [self.world.worker() for _ in range(count)]:
            self.comes(worker, facts)

    @rule()
    def program_does_not_answer(self) -> None:
        self.idle.append(self.world.worker())
        self.idle[-1].catch_signal()
        self.deaf.append(self.idle[-1])

    @precondition(lambda self: self.idle)
    @rule()
    def program_answers(self) -> None:
        self.comes(self.idle.pop(), {"asked": True})

    @precondition(lambda self: self.engines)
    @rule(which=number)
    def program_stops(self, which: int) -> None:
        engine = self.engines[which % len(self.engines)]
        if engine.is_wanted():
            engine.stop()

    @precondition(lambda self: self.engines)
    @rule(which=number, facts=st.sampled_from(FACTS), is_first=st.booleans())
    def program_replaces_itself(self, which: int, facts: dict[str, Any], is_first: bool) -> None:
        old = self.engines.pop(which % len(self.engines))
        if is_first:
            old.leave()
        self.comes(old.worker, facts)
        old.leave()

    @precondition(lambda self: self.engines)
    @rule(which=number, how=st.sampled_from(["terminated", "closed", "killed", "junk"]))
    def program_ends(self, which: int, how: str) -> None:
        engine = self.engines.pop(which % len(self.engines))
        if how == "junk" and engine.is_wanted():
            engine.write(ENGINE_JUNK["a thread that is a list"])
        engine.end("killed" if how == "junk" else how)

    @rule(steps=st.integers(0, len(CONFIGURE)), waits=st.booleans())
    def client_comes(self, steps: int, waits: bool) -> None:
        client = self.world.client()
        self.clients.append(client)
        with suppress(dap.DapError):  # it is refused, because another client is there
            for command, arguments in CONFIGURE[:steps]:
                client.send(command, **arguments)
                if command == "attach" and waits and not self.idle:
                    client._take("initialized, or no", is_answer_to_attach)

    @precondition(lambda self: self.engines)
    @rule(which=number, steps=st.integers(2, len(CONFIGURE)))
    def client_opens_child(self, which: int, steps: int) -> None:
        pid = self.engines[which % len(self.engines)].worker.pid
        client = self.world.client()
        self.clients.append(client)
        with suppress(dap.DapError):
            for command, arguments in CONFIGURE[:steps]:
                more = {"subProcessId": pid} if command == "attach" else {}
                client.send(command, **arguments, **more)

    @precondition(lambda self: self.clients)
    @rule(which=number, request=st.sampled_from(RIGHT), count=st.integers(1, 3))
    def client_asks(self, which: int, request: tuple[str, Any], count: int) -> None:
        command, arguments = request
        with suppress(dap.DapError):
            for _ in range(count):
                self.clients[which % len(self.clients)].send(command, **arguments)

    @precondition(lambda self: self.clients)
    @rule(which=number, request=st.sampled_from([r for r in WRONG if isinstance(r[1], dict)]))
    def client_asks_wrongly(self, which: int, request: tuple[str, Any]) -> None:
        command, arguments = request
        with suppress(dap.DapError):
            self.clients[which % len(self.clients)].send(command, **arguments)

    @precondition(lambda self: self.clients)
    @rule(which=number, command=st.sampled_from(["disconnect", "terminate"]), ends=st.booleans())
    def client_leaves(self, which: int, command: str, ends: bool) -> None:
        client = self.clients.pop(which % len(self.clients))
        with suppress(dap.DapError):
            arguments = {"terminateDebuggee": ends} if command == "disconnect" else {}
            client.send(command, **arguments)
            client.event("terminated")
        client.close()

    @precondition(lambda self: self.clients)
    @rule(which=number)
    def client_breaks_off(self, which: int) -> None:
        self.clients.pop(which % len(self.clients)).close()

    @rule(
        name=st.sampled_from(sorted(JUNK)),
        end=st.sampled_from(["close", "reset", "stays", "stays"]),
    )
    def stranger_comes(self, name: str, end: str) -> None:
        if end != "stays":
            send_and_leave(self.world, JUNK[name], end)
            return
        address = ("127.0.0.1", self.world.port)
        self.sockets.append(socket.create_connection(address, dap.TIMEOUT))
        with suppress(OSError):
            self.sockets[-1].sendall(JUNK[name])

    @rule(name=st.sampled_from(sorted(LOCAL_JUNK)))
    def stranger_comes_in_the_container(self, name: str) -> None:
        with self.world.worker().connect() as connection, suppress(OSError):
            connection.sendall(LOCAL_JUNK[name])

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            for client in self.clients:
                client.close()
            for connection in self.sockets:
                break_off(connection)
            wait_until(self.world.has_no_session)
            # The hub would wait for their answers.
            for worker in self.deaf:
                worker.end()
            # The other programs are still there: another client gets one of them, or none.
            client = self.world.client()
            client.attach({"type": "debugpy"}, {})
            client.close()
            wait_until(self.world.has_no_session)
            for engine in self.engines:
                engine.end("killed")
            for worker in self.world.workers:
                worker.end()
            self.world.has_nothing_left()
            self.world.serves()
            assert "poison" not in json.dumps([engine.requests for engine in self.all_engines])
            log = self.world.log.read_text()
            assert "Traceback" not in log, log
        finally:
            self.world.close()


def is_answer_to_attach(message: dict[str, Any]) -> bool:
    return message.get("event") == "initialized" or message.get("command") == "attach"


def test_hub_serves_after_any_sequence(home: Path, tmp_path: Path) -> None:
    Container(home, tmp_path)  # which skips the test where there are no namespaces
    AnySequence.home = home
    run_machine(
        AnySequence,
        settings=settings(
            max_examples=30,
            stateful_step_count=15,
            derandomize=True,
            database=None,
            deadline=None,
            # A shorter sequence may miss the moment of a failure.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


# ---- A hub that another user has forged ----

NOBODY = 65534

FORGE = """
import json, os, socket, sys

kinds, behaviour = sys.argv[1].split(), sys.argv[2]
namespace = os.stat("/proc/self/ns/pid").st_ino
os.setgid(65534)
os.setuid(65534)
taken = []
for kind in kinds:
    taken.append(socket.socket(socket.AF_UNIX))
    taken[-1].bind(f"\\0remora-{namespace}-{kind}")
    taken[-1].listen(5)
print("ready", flush=True)
os.close(1)
while True:
    connection, _ = taken[0].accept()
    if behaviour == "answers":
        connection.sendall(json.dumps({"engine": True, "say": ["forged"]}).encode() + b"\\n")
        while connection.recv(1000):
            pass
    taken.append(connection)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("behaviour", ["answers", "is silent"])
@pytest.mark.parametrize("mode", ["wait", "listen", "demand"])
def test_forged_hub_is_not_trusted(home: Path, tmp_path: Path, mode: str, behaviour: str) -> None:
    """A program says that it does not trust the hub, and runs on without a debugger."""
    container = Container(home.parent / "venv/bin/python", tmp_path)
    container.write("forge.py", FORGE)
    container.write("p.py", "import sys; print('done', 'pydevd' in sys.modules, flush=True)\n")
    # In mode `demand` a program looks for the hub only if a client is there.
    names = "hub attached" if mode == "demand" else "hub"
    forge = f'python -I -S forge.py "{names}" "{behaviour}" >ready 2>/dev/null'
    container.start(f"mkfifo ready; {forge} & read line <ready; python p.py", mode)
    try:
        assert container.exit_code() == 0
        wait_until(lambda: "done False" in container.lines)
        said = [line for line in container.lines if line.startswith("remora: ")]
        if mode == "listen":
            assert said == []  # the program sees a hub, and asks it nothing
        else:
            (line,) = said
            assert line.startswith("remora: the debugger's hub is pid ")
            assert f" of user {NOBODY}, so pid " in line
            assert line.endswith(" of user 0 goes on without it")
        assert container.lines[-1] == "done False"
        assert not container.is_open()
    finally:
        container.stop()


def test_client_can_attach_if_its_name_is_taken(home: Path, tmp_path: Path) -> None:
    """A client can attach although a process has taken the name that signals a client."""
    Container(home, tmp_path)
    with running(home) as world, socket.socket(socket.AF_UNIX) as taken:
        taken.bind(f"{world.name}attached")
        world.serves()
    assert "Traceback" not in world.log.read_text()


@pytest.mark.skipif(
    not Path("/proc/sys/net/core/netdev_max_backlog").exists() or os.geteuid() != 0,
    reason="this is a container, whose network is not the kernel's first; or not root's",
)
def test_network_of_a_machine_is_known_without_bridges(container: Container) -> None:
    """As on a compute node, which has no Docker, or a Docker without bridges."""
    hidden = "mount -t tmpfs none /sys/class/net"
    container.start(f"{hidden} && sleep 60", mode="listen", REMORA_HOST="0.0.0.0")
    wait_until(lambda: container.remora("ready").returncode == 0)
    assert {host for host, port in listening_here() if port == container.port} == {"127.0.0.1"}


def test_hub_is_the_only_one(home: Path, world: World) -> None:
    """A second hub ends at once, and the first hub continues."""
    main = str(home / "_remora/__main__.py")
    enter = ["nsenter", "--target", str(world.hub), "--pid", "--mount"]
    enter += [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    second = [*enter, sys.executable, "-B", "-I", "-S", main, "hub", "2"]
    assert subprocess.run(second, timeout=dap.TIMEOUT, stdin=subprocess.DEVNULL).returncode == 0
    world.serves()


@pytest.mark.parametrize("mode", ["wait", "crash"])
def test_hub_that_cannot_start_is_reported(shop: Container, mode: str) -> None:
    """The program that would be held runs on."""
    python = shop.python.parents[2] / "remora/python"
    python.unlink()
    python.symlink_to("/bin/false")
    shop.write("p.py", "print('runs', flush=True)\n1 / 0\n")
    shop.start("exec python p.py", mode)
    assert shop.exit_code() == 1
    assert "runs" in shop.lines
    said = [line for line in shop.lines if line.startswith("remora: ")]
    assert said == ["remora: the debugger's hub cannot start, so pid 1 goes on without it"]


# ---- A program that the hub asks for a dump ----


@pytest.mark.parametrize("answer", [{"asked": True}, {"problem": "another debugger"}])
def test_program_asked_for_a_dump_may_connect_for_another_reason(
    world: World, answer: dict[str, Any]
) -> None:
    """An example is a program that is inside a library, and in which another thread crashes."""

    def say(connection: socket.socket, **message: Any) -> dict[str, Any]:
        connection.settimeout(dap.TIMEOUT)
        connection.sendall(json.dumps(message).encode() + b"\n")
        return json.loads(connection.makefile("rb").readline())

    worker = world.worker()
    worker.catch_signal()
    with world.worker().connect() as asks:
        asks.settimeout(dap.TIMEOUT)
        asks.sendall(json.dumps({"ask": "dump", "pids": [worker.pid]}).encode() + b"\n")
        for _ in range(3):
            world.status()  # until the hub has asked the program
        with worker.connect() as crashed:
            assert say(crashed, crash="ValueError", ends=False) == {"kept": True}
        program = Engine(worker, held=True)
        assert program.is_wanted()
        program.leave()
        with worker.connect() as asked:
            assert say(asked, **answer)["dump"]
            say(asked, dumped="/dumps/p")
        found = json.loads(asks.makefile("rb").readline())
        assert found["dumped"] == {str(worker.pid): "/dumps/p"}


# ---- A program that the hub asks for while it joins by itself ----


def test_program_joins_once_if_it_is_asked_meanwhile(home: Path, tmp_path: Path) -> None:
    """The program joins once: a process that joins again has replaced itself, to the hub."""
    container = Container(home.parent / "venv/bin/python", tmp_path)
    path = container.write("p.py", "import os\nprint('here', os.getpid())  # here\n")
    container.start("python p.py; true")
    try:
        container.says("Waiting for client to attach...")
        init = container.pid_1()
        children = Path(f"/proc/{init}/task/{init}/children").read_text().split()
        (pid,) = (p for p in children if "p.py" in Path(f"/proc/{p}/cmdline").read_text())
        os.kill(int(pid), signal.SIGURG)
        # The signal has arrived once it is no longer pending in the kernel.
        pending = re.compile(r"^(?:Sig|Shd)Pnd:\s*0+$", re.MULTILINE)
        wait_until(lambda: len(pending.findall(Path(f"/proc/{pid}/status").read_text())) == 2)
        editor = container.attach({path: [2]})
        stop = editor.stopped()
        assert (stop.path, stop.line) == (path, 2)
        editor.resume(stop)
        assert container.exit_code() == 0
        assert container.log().count("Waiting for client") == 1
    finally:
        container.stop()
