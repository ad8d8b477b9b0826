"""A debugger that runs for days: whatever comes and goes in a container, nothing grows.

    nox -s soak
    SOAK_PERCENT=2 nox -s soak     # 2 % of everything, to see that it works

It prints the memory, files and threads of the hub and the program after each tenth.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from support import dap
from support.project import Project, marked, wait_until

pytestmark = pytest.mark.docker


def share(number: int) -> int:
    """The number of repetitions, reduced to SOAK_PERCENT; at least ten."""
    return max(10, number * int(os.environ.get("SOAK_PERCENT", "100")) // 100)


CLIENTS, PROGRAMS, CHILDREN, STRANGERS = map(share, (200, 1000, 1000, 10_000))

# How much more memory a process may have at the end than after the first tenth: a share of it, and
# KiB that the allocator may take at any time.
TOLERANCE, SLACK = 0.1, 1024

# Prints all descendants of the container's command, but not what `exec` has started.
PROCESSES = r"""
import json, os
found = {}
for pid in filter(str.isdecimal, os.listdir("/proc")):
    try:
        text = open(f"/proc/{pid}/status").read()
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        process = {
            "parent": fields["PPid"].strip(),
            "command": open(f"/proc/{pid}/cmdline").read().replace("\0", " "),
            "memory": int(fields.get("VmRSS", "0").split()[0]),
            "files": len(os.listdir(f"/proc/{pid}/fd")),
            "threads": int(fields["Threads"]),
        }
        found[pid] = process
    except FileNotFoundError:
        pass  # it has ended
def is_of_container(pid):
    return pid == "1" or (pid in found and is_of_container(found[pid]["parent"]))
print(json.dumps({pid: found[pid] for pid in found if is_of_container(pid)}))
"""

WAIT = """
import time
while True:
    time.sleep(0.01)  # here
"""

ONE_OF_MANY = """
import sys
number = int(sys.argv[1])
number += 41  # here
"""

FORK = f"""
import multiprocessing
def work(number):
    result = number + 41  # here
context = multiprocessing.get_context("fork")
for number in range({CHILDREN}):
    child = context.Process(target=work, args=[number])
    child.start()
    child.join()
input()
"""


# The command lines of the watched processes
COMMANDS = {"hub": r"\S+/python -I -S \S+/__main__\.py hub ", "program": r"python src/program\.py "}


@dataclass
class Usage:
    """The KiB of memory, open files and threads of a process at one moment."""

    memory: int
    files: int
    threads: int


class Watched:
    """The usage of the container's processes after each tenth: the hub and the program."""

    def __init__(self, project: Project, *names: str) -> None:
        self.project, self.names = project, names
        self.noted: list[dict[str, Usage]] = []
        # The number of processes and their usage once everything has ended that should end
        self.rest: tuple[int, dict[str, Usage]] | None = None

    def look(self) -> tuple[int, dict[str, Usage]]:
        """Return the number of processes, and the usage of the watched ones."""
        python = ["exec", "-T", self.project.service, "python", "-I", "-S", "-c", PROCESSES]
        processes = json.loads(self.project.compose(*python).stdout)

        def is_called(pid: str, name: str) -> bool:
            return pid in processes and bool(re.match(COMMANDS[name], processes[pid]["command"]))

        usages = {}
        for name in self.names:
            # A forked child has the command line of its parent.
            (process,) = (
                process
                for pid, process in processes.items()
                if is_called(pid, name) and not is_called(process["parent"], name)
            )
            usages[name] = Usage(*(process[key] for key in ("memory", "files", "threads")))
        return len(processes), usages

    def note(self, when: str) -> None:
        """Wait until files, threads and processes are back at rest, and record the usage."""

        def is_at_rest() -> bool:
            count, usages = self.look()
            last.append((count, usages))
            self.rest = self.rest or last[0]
            return count <= self.rest[0] and all(
                usage.files <= self.rest[1][name].files
                and usage.threads <= self.rest[1][name].threads
                for name, usage in usages.items()
            )

        last: list[tuple[int, dict[str, Usage]]] = []
        try:
            wait_until(is_at_rest)
        finally:
            for count, usages in last[-1:]:
                for name, usage in usages.items():
                    print(f"{when:<16} {count} processes  {name:<8} {usage}", flush=True)
        self.noted.append(usages)

    def nothing_has_grown(self) -> None:
        """Check the memory. note() has checked files, threads and processes."""
        assert len(self.noted) == 10
        for name in self.names:
            first, last = self.noted[0][name].memory, self.noted[-1][name].memory
            assert last <= first * (1 + TOLERANCE) + SLACK, name


def in_tenths(number: int, watched: Watched, what: str, do: Callable[[int], None]) -> None:
    """Repeat something, and check after each tenth that nothing has grown."""
    for n in range(1, number + 1):
        do(n)
        if n * 10 // number > (n - 1) * 10 // number:
            watched.note(f"{what} {n}")
    watched.nothing_has_grown()


def test_clients_one_after_the_other(project: Project) -> None:
    path = project.start(WAIT, REMORA_MODE="listen")
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen")
    watched = Watched(project, "hub", "program")
    watched.rest = watched.look()

    def do(n: int) -> None:
        editor = project.attach(marked(path), source=path)
        assert editor.stopped().path == path
        editor.detach()
        project.editors.clear()  # each with everything that it received

    in_tenths(CLIENTS, watched, "client", do)


def test_programs_one_after_the_other(project: Project) -> None:
    """All programs run in one session of one client."""
    command = f"for n in $(seq {PROGRAMS}); do python src/program.py $$n; done; sleep infinity"
    path = project.start(ONE_OF_MANY, command.replace("$(", "$$("), REMORA_MODE="wait")
    project.compose("up", "--detach", "--wait", REMORA_MODE="wait")
    editor = project.attach(marked(path), source=path)
    watched = Watched(project, "hub")
    stops: list[dap.Stop] = []

    def do(n: int) -> None:
        if stops:
            editor.resume(stops.pop())
        stops.append(editor.stopped())
        assert (stops[0].line, stops[0].locals["number"]) == (marked(path), str(n))
        assert len(editor.clients) == 1

    in_tenths(PROGRAMS, watched, "program", do)
    editor.resume(stops.pop())


def test_children(project: Project) -> None:
    """Each child is forked from a debugged program, and stops once in a session of its own."""
    path = project.start(FORK, "sleep infinity | python src/program.py", REMORA_MODE="wait")
    project.compose("up", "--detach", "--wait", REMORA_MODE="wait")
    editor = project.attach(marked(path), source=path)
    seen: set[int] = set()
    stops: list[dap.Stop] = []

    def do(n: int) -> None:
        if stops:
            editor.resume(stops.pop())
        stops.append(editor.stopped())
        assert stops[0].line == marked(path)
        seen.add(int(stops[0].locals["number"]))

    in_tenths(CHILDREN, Watched(project, "hub", "program"), "child", do)
    editor.resume(stops.pop())
    assert seen == set(range(CHILDREN))


# ---- Connections that do not come from clients ----


def client_hello() -> bytes:
    """The first message of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="example.org").do_handshake()
    return outgoing.read()


def framed(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


# What a stranger sends, and whether the hub should then close the connection. If not, the stranger
# closes the connection: by a reset if it sends None.
SENT = {
    "a probe": (b"", False),
    "a probe with a reset": (None, False),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", True),
    "TLS": (client_hello(), True),
    "a length that is none": (b"Content-Length: x\r\n\r\n", True),
    "a length that is too long": (b"Content-Length: 99999999999\r\n\r\n", True),
    "no JSON": (framed(b"junk"), True),
    "half a message": (b"Content-Length: 100\r\n\r\n{", False),
    "a request before attach": (framed(b'{"seq": 1, "type": "request", "command": "x"}'), False),
    "an initialize alone": (
        framed(b'{"seq": 1, "type": "request", "command": "initialize", "arguments": {}}'),
        False,
    ),
}


def test_strangers(project: Project) -> None:
    path = project.start(WAIT, REMORA_MODE="listen")
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen")
    watched = Watched(project, "hub", "program")
    watched.rest = watched.look()
    # From now on the program has an engine, but no client is attached.
    editor = project.attach(marked(path), source=path)
    editor.stopped()
    editor.detach()
    port = project.configuration("train: attach")["connect"]["port"]
    kinds = list(SENT.values())

    def do(n: int) -> None:
        sent, is_ended_by_hub = kinds[n % len(kinds)]
        with socket.create_connection(("127.0.0.1", port), timeout=dap.TIMEOUT) as connection:
            if sent is None:
                reset = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            else:
                connection.sendall(sent)
            try:
                while is_ended_by_hub and connection.recv(65536):
                    pass
            except ConnectionResetError:
                pass  # it has not read everything

    in_tenths(STRANGERS, watched, "stranger", do)
    assert project.attach(marked(path), source=path).stopped().path == path
