"""In each mode, a program that nobody debugs does what it does in mode `off`. No Docker."""

from __future__ import annotations

import os
import signal

import pytest
from support.container import Container

# What may be asked of Python's own functions and hooks, which the debug layer replaces.
ASKS = """
import code, multiprocessing, os, pickle, sys, threading

def raises():
    raise ValueError("in a thread")

if __name__ == "__main__":
    for name in ("excepthook", "unraisablehook"):
        print(name, getattr(sys, name) is getattr(sys, f"__{name}__"))
    for leave in (sys.exit, os._exit):
        assert pickle.loads(pickle.dumps(leave)) is leave
        process = multiprocessing.get_context("spawn").Process(target=leave, args=[3])
        process.start()
        process.join()
        print(leave.__name__, leave.__doc__, process.exitcode)
    console = code.InteractiveConsole()
    console.push("1 / 0")
    console.push("print('goes on')")
"""

# The file gets the number of standard error, which is closed.
WRITES = """
import os
number = os.open("file", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
os.dup2(1, 9)
def tell():
    os.write(9, b"%d %r" % (number, os.pread(number, 1000, 0)))
import atexit
atexit.register(tell)
raise ValueError
"""

COMMANDS = {
    "functions and hooks": (ASKS, "python p.py"),
    "prompt": ("a = 1\n", "printf '1/0\\nprint(a)\\nraise SystemExit(4)\\n' | python -i p.py"),
    "closed standard error": (WRITES, "python -I p.py 2>&-"),
}


def output(container: Container, command: str, mode: str) -> tuple[int, list[str]]:
    """Run a command in a container of its own. Returns its exit code and its output."""
    container = Container(container.python, container.folder)
    container.start(f"{command}\nexit $?", mode=mode, REMORA_KEEP_FOR="1s")
    try:
        code = container.exit_code()
    finally:
        container.stop()
    return code, [line for line in container.lines if not line.startswith("remora: Listening, ")]


@pytest.mark.parametrize("mode", ["listen", "demand", "crash", "dump"])
@pytest.mark.parametrize("what", COMMANDS)
def test_program_does_the_same_as_in_mode_off(container: Container, what: str, mode: str) -> None:
    code, command = COMMANDS[what]
    container.write("p.py", code)
    assert output(container, command, mode) == output(container, command, "off")


def test_hub_that_may_open_no_files_is_reported_in_a_line(container: Container) -> None:
    container.write("p.py", "raise ValueError\n")
    command = "ulimit -n 6; python p.py"
    code, lines = output(container, command, "crash")
    (said,) = [line for line in lines if line.startswith("remora: ")]
    assert said.endswith("the debugger's hub cannot start, so pid 2 goes on without it")
    lines.remove(said)
    assert (code, lines) == output(container, command, "off")


PAUSES = """
import signal
signal.signal(signal.SIGTERM, lambda *_: print("is told"))
print("pauses", flush=True)
signal.pause()
print("goes on", flush=True)
"""


@pytest.mark.parametrize("mode", ["listen", "demand"])
def test_program_that_waits_for_a_signal_waits_on_when_it_is_asked(
    container: Container, mode: str
) -> None:
    container.write("p.py", PAUSES)
    container.start("exec python p.py", mode=mode, REMORA_DUMPS=str(container.folder / "dumps"))
    container.says("pauses")
    assert container.remora("dump").returncode == 0
    assert container.remora("attach").returncode == 0
    container.attach({}).detach()
    os.kill(int(container.pid_1()), signal.SIGTERM)
    assert container.exit_code() == 0
    assert container.lines[-2:] == ["is told", "goes on"]
