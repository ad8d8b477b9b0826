"""An interpreter with the hook as the debug image has it, but on this machine."""

from __future__ import annotations

import venv
from pathlib import Path

import debugpy

DEBUG = Path(__file__).parents[1] / "template/docker/debug"


def hooked_python(root: Path) -> Path:
    """Make a virtual environment below a folder, and return its Python."""
    home, records = root / "debugpy", root / "run"
    home.mkdir()
    records.mkdir()
    for name in ("debug_hook.py", "debug_session.py"):
        code = (DEBUG / name).read_text()
        (home / name).write_text(code.replace("/run/debugpy", str(records)))
    (home / "debugpy").symlink_to(Path(debugpy.__file__).parent)
    venv.create(root / "venv", symlinks=True)
    (site_packages,) = (root / "venv").glob("lib/python3*/site-packages")
    text = f"{home}\nimport debug_hook; debug_hook.main()\n"
    (site_packages / "debug_hook.pth").write_text(text)
    return root / "venv/bin/python"
