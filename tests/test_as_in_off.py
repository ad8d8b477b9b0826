"""In each mode, a program that nobody debugs does what it does in mode `off`. No Docker."""

from __future__ import annotations

import os
import signal

import pytest
from support.container import Container
from support.project import wait_until

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
    wait_until(lambda: container.lines[-2:] == ["is told", "goes on"])
