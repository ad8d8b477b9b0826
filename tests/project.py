"""A rendered project as its owner uses it: its commands, its containers, its configurations."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dap

# How long any command may take, in seconds; images are built in that time.
TIMEOUT = 600


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what only asking can tell."""
    deadline = time.monotonic() + dap.TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


class Project:
    """The project in `root`. What it starts and attaches is remembered, to be shown and ended."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clients: list[dap.Client] = []

    @property
    def source(self) -> Path:
        """The training program."""
        (path,) = self.root.glob("src/*/train.py")
        return path

    def line(self, text: str) -> int:
        """The number of the one line of the training program that holds `text`."""
        lines = self.source.read_text().splitlines()
        (number,) = (n for n, line in enumerate(lines, start=1) if text in line)
        return number

    def edit(self, old: str, new: str) -> None:
        """Replace the one place in the training program that reads `old`."""
        text = self.source.read_text()
        assert text.count(old) == 1, old
        self.source.write_text(text.replace(old, new))

    # ---- Commands ----

    def run(
        self, *command: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder. Its output is kept, and shown if it fails."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
        if check:
            assert done.returncode == 0, f"{command} -> {done.returncode}\n{done.stdout}"
        return done

    def compose(
        self, *arguments: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` with the debug file alone."""
        command = ("docker", "compose", "-f", "docker-compose.debug.yml", *arguments)
        return self.run(*command, check=check, **environment)

    # ---- The editor ----

    def task(
        self, label: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a task of tasks.json as the editor does: in a shell, in the project's folder."""
        tasks = json.loads((self.root / ".vscode/tasks.json").read_text())["tasks"]
        (task,) = (task for task in tasks if task["label"] == label)
        return self.run("sh", "-c", task["command"], check=check, **environment)

    def configuration(self, name: str) -> dict[str, Any]:
        """A configuration of launch.json, with the editor's variables replaced."""
        text = (self.root / ".vscode/launch.json").read_text()
        text = text.replace("${workspaceFolder}", str(self.root))
        (found,) = (c for c in json.loads(text)["configurations"] if c["name"] == name)
        return found

    def attach(self, *lines: int, name: str = "Attach to train") -> dap.Client:
        """Attach with a configuration of launch.json, and breakpoints in the training program."""
        configuration = self.configuration(name)
        client = dap.Client(**configuration["connect"])
        self.clients.append(client)
        client.attach(configuration, {self.source: list(lines)})
        return client

    def debug(self, *lines: int, **environment: str) -> dap.Client:
        """Press F5: start what the configuration wants to be started, then attach."""
        configuration = self.configuration("Debug train")
        self.task(configuration["preLaunchTask"], **environment)
        return self.attach(*lines, name="Debug train")

    # ---- The container ----

    def container(self) -> str:
        """The id of the service's container, running or not."""
        return self.compose("ps", "--all", "--quiet", "train").stdout.strip()

    def exit_code(self) -> int:
        """Wait for the program to end, and return its exit code."""
        return int(self.run("docker", "wait", self.container()).stdout)

    def log(self) -> str:
        return self.compose("logs", "--no-log-prefix", check=False).stdout

    def traffic(self) -> str:
        return "\n\n".join("\n".join(client.traffic) for client in self.clients)

    def down(self) -> None:
        """End what was started: sessions, containers, networks and volumes."""
        for client in self.clients:
            client.close()
        self.compose("down", "--volumes", "--timeout", "0", DEBUGPY_PORT="5678")
