"""A cluster for deploy/debug.sh: stand-ins for kubectl, docker and kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.programs import program

# The line for a pod that has started, as deploy/debug.sh asks for it
STARTED = "train-x|Running||true|||"

# What kubectl and docker answer: see fake_kubectl.py.
USUAL: dict[str, Any] = {
    "contexts": ["kind-dev", "production"],
    "answers": True,
    "namespace": True,
    "denied": [],
    "there": [],
    "unknown": "",
    "dumps": False,
    "apply": "",
    "delete": "",
    "exec": "",
    "port": "free",
    "pod": "Running|||",
    "events": [],
}

# The options that name the cluster in each call
PLACE = ("--context=kind-dev", "--namespace=team")


class FakeCluster:
    """A project's folder, and programs in the place of kubectl, docker and kind."""

    def __init__(self, folder: Path, root: Path) -> None:
        """Put the programs into the subfolder `bin` of a folder. root: the project's folder."""
        self.folder, self.root = folder, root
        self.environment = {
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
            "REMORA_KUBE_CONTEXT": "kind-dev",
            "REMORA_KUBE_TIMEOUT": "2",
        }
        (folder / "bin").mkdir(parents=True)
        fake = Path(__file__).with_name("fake_kubectl.py")
        settings = f"FAKE_WORLD='{folder}' REAL_KUBECTL={program('kubectl')}"
        self.program("kubectl", f'{settings} exec {sys.executable} {fake} "$@"')
        for name in ("docker", "kind"):
            self.program(
                name,
                f'echo "{name} $*" >>"{folder}/brought"\n'
                'case "$*" in\n"image ls"*) echo sha256:0123456789abcdef ;;\n'
                '"compose "*" config "*) echo "name: shop" ;;\nesac',
            )
        self.be()

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def be(self, pods: str = STARTED, **changes: Any) -> None:
        """Answer as usual from now on, with some changes. pods: a line for each look at the pod."""
        (self.folder / "world.json").write_text(json.dumps({**USUAL, **changes}))
        (self.folder / "pods").write_text(pods)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script as a task of an editor does: it ends with its output."""
        return subprocess.run(
            ["deploy/debug.sh", *words],
            cwd=self.root,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )

    def render(
        self, manifests: str, *words: str, script: Sequence[str] = ("deploy/debug.sh",)
    ) -> subprocess.CompletedProcess[str]:
        """Let the script change manifests, as Helm's post-renderer."""
        return subprocess.run(
            [*script, "render", *words],
            cwd=self.root,
            env=self.environment,
            input=manifests,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def said(self, *words: str, **environment: str) -> str:
        """The last line of the script's output. The script must succeed."""
        done = self.run(*words, **environment)
        assert done.returncode == 0, done.stdout
        return done.stdout.splitlines()[-1] if done.stdout else ""

    def calls(self, verb: str) -> list[list[str]]:
        """The arguments of all calls of kubectl with a verb, without PLACE."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [[w for w in json.loads(x) if w not in PLACE] for x in lines]
        return [words[1:] for words in found if words[0] == verb]

    def forwards(self) -> list[str]:
        """The command lines of the processes that forward for this project."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                settings = (path / "environ").read_bytes().split(b"\0")
                command = (path / "cmdline").read_text().replace("\0", " ")
                is_here = Path(os.readlink(path / "cwd")) == self.root
            except OSError:
                continue
            if f"FAKE_WORLD={self.folder}".encode() in settings or (
                is_here and "forward" in command
            ):
                found.append(command)
        return found
