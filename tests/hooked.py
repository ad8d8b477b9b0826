"""An interpreter with the hook as the debug image has it, but on this machine."""

from __future__ import annotations

import importlib
import socket
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import debugpy

DEBUG = Path(__file__).parents[1] / "template/docker/debug"


def hooked_python(root: Path) -> Path:
    """Make a virtual environment below a folder, and return its Python."""
    home, records = root / "debugpy", root / "run"
    home.mkdir()
    records.mkdir()
    for name in ("debug_hook.py", "debug_session.py", "debug_adapter.py"):
        code = (DEBUG / name).read_text()
        (home / name).write_text(code.replace("/run/debugpy", str(records)))
    (home / "debugpy").symlink_to(Path(debugpy.__file__).parent)
    venv.create(root / "venv", symlinks=True)
    (site_packages,) = (root / "venv").glob("lib/python3*/site-packages")
    with imported("install") as install:
        text = install.START_UP.format(home=home)
    (site_packages / "debug_hook.pth").write_text(text)
    return root / "venv/bin/python"


def free_port() -> str:
    """A port of this machine that nobody listens on, as DEBUGPY_PORT has it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def imported(name: str) -> Iterator[ModuleType]:
    """A module of the hook, to call its functions here."""
    # Nothing but the template belongs into its folder.
    writes_nothing, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(DEBUG))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(DEBUG))
        sys.dont_write_bytecode = writes_nothing
