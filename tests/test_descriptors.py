"""Programs that close all their descriptors, or have fewer than others. No Docker."""

from __future__ import annotations

import pytest
from support.container import Container
from support.project import marked, wait_until

# Closes all descriptors when it is told to, and gives their numbers to sockets of its own. Then it
# tells whether something else has used those.
CLOSES = """
import os, socket, sys, time
import collections

def is_told(name):
    return os.path.exists(name)

def numbers():
    return {int(name) for name in os.listdir("/proc/self/fd")}

def inode(number):
    try:
        return os.fstat(number).st_ino
    except OSError:
        return None

def reuse():
    before = numbers() - {0, 1, 2}
    os.closerange(3, 1 << 16)
    here, there = socket.socketpair()
    there.setblocking(False)
    for number in before - {here.fileno(), there.fileno()}:
        os.dup2(here.fileno(), number)
    there.send(b"for the program")
    own = inode(here.fileno())
    held = {number for number in before if inode(number) == own} | {here.fileno()}
    return here, there, own, held

def damage(here, there, own, held):
    try:
        got = there.recv(99)
    except BlockingIOError:
        got = b""
    here.settimeout(60)
    kept = here.recv(99)
    lost = {number for number in held if inode(number) != own}
    return [got, kept] if got or lost or kept != b"for the program" else "nothing"

while not is_told("close"):
    time.sleep(0.01)
all_of_it = reuse()
print("closed", flush=True)
while not is_told("end"):
    time.sleep(0.01)
    number = 1  # here
print("damaged:", damage(*all_of_it), flush=True)
"""


@pytest.mark.parametrize("mode", ["wait", "listen", "demand", "crash"])
def test_program_that_closes_all_descriptors(container: Container, mode: str) -> None:
    path = container.write("p.py", CLOSES)
    container.start("python p.py; exit $?", mode=mode)
    if mode in ("demand", "crash"):
        wait_until(lambda: " runs " in container.remora("status").stdout)
        assert container.remora("attach").returncode == 0
    editor = container.attach({})
    (container.folder / "close").touch()
    container.says("closed")
    said = "has closed its descriptors, and so left the debugger until now"
    wait_until(lambda: said in editor.output.get("important", ""))
    editor.set_breakpoints(path, marked(path))
    stop = editor.stopped()
    assert (stop.path, stop.line) == (path, marked(path))
    editor.set_breakpoints(path)
    editor.resume(stop)
    editor.detach()
    assert container.attach({path: [marked(path)]}).stopped().path == path
    container.editors[-1].close()
    (container.folder / "end").touch()
    container.says("damaged: nothing")
    assert container.exit_code() == 0


# Tells which descriptor its first file gets.
OPENS = """
import os

number = os.open("found", os.O_WRONLY | os.O_CREAT)
os.write(number, b"%d" % number)  # here
"""


@pytest.mark.parametrize("closed, first", [("<&-", 0), (">&-", 1), ("2>&-", 2), ("<&- >&-", 0)])
def test_program_without_standard_descriptors(
    container: Container, closed: str, first: int
) -> None:
    path = container.write("p.py", OPENS)
    container.start(f"exec python p.py {closed}")
    editor = container.attach({path: [marked(path)]})
    editor.resume(editor.stopped())
    editor.ended()
    assert container.exit_code() == 0
    assert (container.folder / "found").read_text() == str(first)
