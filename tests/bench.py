"""What the hook costs a Python process: its start with the hook, beside that without, in turn.

    nox -s bench

Prints the median of each and how much longer than without the hook it takes. No test asserts these.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
import venv
from pathlib import Path

from hooked import hooked_python

ROUNDS = 60


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "empty.py").touch()
        hooked = hooked_python(root)
        venv.create(root / "plain", symlinks=True)
        plain = root / "plain/bin/python"
        starts = {
            "without the hook": (plain, ["-c", ""], "off"),
            "passed over": (hooked, ["-c", ""], "wait"),
            "off": (hooked, ["-c", ""], "off"),
            "demand": (hooked, [root / "empty.py"], "demand"),
            "crash": (hooked, [root / "empty.py"], "crash"),
        }
        # As in an image, the modules of the hook are compiled once.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        times: dict[str, list[float]] = {name: [] for name in starts}
        for _ in range(ROUNDS):
            for name, (python, arguments, mode) in starts.items():
                before = time.perf_counter()
                command = [python, *arguments]
                subprocess.run(command, env={**environment, "DEBUGPY_MODE": mode}, check=True)
                times[name].append((time.perf_counter() - before) * 1000)
        base = statistics.median(times["without the hook"])
        for name, measured in times.items():
            median = statistics.median(measured)
            print(f"{name:<18} {median:6.1f} ms {median - base:+6.1f} ms  {median / base:.2f}")


if __name__ == "__main__":
    main()
