"""Programs that are installed for the tests: their paths, and their findings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def program(name: str) -> str:
    """The path of a program that pip has installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


def needed(program: Path | str | None) -> str:
    """Return the path of a program. Without the program, a test is skipped; in CI it fails."""
    if program is None or not Path(program).exists():
        reason = "an editor is not installed: nox -s editors and nox -s vscode do it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return str(program)


def tool(name: str, *arguments: str | Path, cwd: Path | None = None) -> None:
    """Run a program that checks files. Its findings fail the test."""
    done = subprocess.run(
        [program(name), *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
