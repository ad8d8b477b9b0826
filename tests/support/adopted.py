"""An existing project that has been adopted, in containers."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.container import DEBUG
from support.existing import ExistingProject
from support.project import Project, marked, wait_until
from support.rendering import answers

# The paths that debugging may write into a project, except the debug file.
DEBUG_LAYER = {
    ".copier-answers.yml",
    ".vscode/extensions.json",
    ".vscode/launch.json",
    ".vscode/tasks.json",
    "docker/debug/README.md",
    "docker/debug/debug.Dockerfile",
    "docker/debug/debug.Dockerfile.dockerignore",
    "docker/debug/install.py",
    "docker/debug/no-python.sh",
    *(f"docker/debug/{path.relative_to(DEBUG)}" for path in (DEBUG / "remora").rglob("*.py")),
}


class Adopted(Project):
    """A project of tests/projects, and the files that adoption has added."""

    def __init__(self, existing: ExistingProject, root: Path) -> None:
        super().__init__(root, service=next(iter(existing.services)))
        self.existing = existing
        self.debug_file = answers(root)["debug_file"]

    @property
    def facts(self) -> list[dict]:
        """What adoption has found out about each service to debug."""
        found = answers(self.root)
        return [found["service_facts"][service["name"]] for service in found["debug_services"]]

    def debugged(self) -> list[str]:
        """The services that a test can stop."""
        return [name for name, service in self.existing.services.items() if "stop" in service]

    def own(self, *arguments: str, check: bool = True, **environment: str):
        """Run `docker compose` as its owner does without debugging."""
        files = [part for name in answers(self.root)["compose_files"] for part in ("-f", name)]
        return self.run("docker", "compose", *files, *arguments, check=check, **environment)

    def on_top(self, *arguments: str):
        """Run `docker compose` with the debug file as an override."""
        return self.own("-f", self.debug_file, *arguments)

    def model(self, compose) -> dict:
        """The model that Compose reads from the files that a function passes."""
        printed = compose("--profile", "*", "config", "--format", "json").stdout
        return json.loads(printed[re.search(r"^\{", printed, re.MULTILINE).start() :])

    @contextmanager
    def raising(self) -> Iterator[Path]:
        """Let the service raise an exception at its line for a while, and give its file."""
        source = self.root / self.existing.services[self.service]["stop"]
        text = source.read_text()
        source.write_text(text.replace("return answer", "raise ValueError(answer)"))
        try:
            yield source
        finally:
            source.write_text(text)

    def trigger(self, service: str) -> str:
        """Run the command that makes a server reach its line, and return the output."""
        command = ["sh", "-c", self.existing.services[service]["trigger"]]
        container = self.seen_from(service).container()
        return self.run("docker", "exec", "--env", "REMORA_MODE=off", container, *command).stdout

    def outcome(self, compose, **environment: str) -> dict[str, Any]:
        """Start the project, and return the results of each service: a server's answer, or
        a program's output and exit code."""
        services = self.debugged()
        compose("up", "--build", "--detach", *services, **environment)
        outcome: dict[str, Any] = {}
        for service in services:
            if "trigger" in self.existing.services[service]:
                outcome[service] = self.trigger(service)
            else:
                outcome[service] = self.exit_code_and_output(service)
        return outcome

    def exit_code_and_output(self, service: str) -> tuple[int, str]:
        """The exit code and output of a service's program. All programs of tests/projects print
        something, but a busy Docker Engine may lose what a container prints just before its end.
        So a container without output is started again."""
        view = self.seen_from(service)
        for _ in range(3):
            code, output = view.exit_code(), self.run("docker", "logs", view.container()).stdout
            if output:
                return code, output
            self.run("docker", "start", view.container())
        raise AssertionError(f"{service} has printed nothing in three runs")

    def stops_at_its_line(self, service: str, before: Any) -> None:
        """Press F5, hit the breakpoint, and check that the service's results are the same."""
        existing, view = self.existing.services[service], self.seen_from(service)
        source = self.root / existing["stop"]
        here = marked(source)
        self.task(f"{service}: start", **self.existing.environment)
        answer: list[str] = []
        request = threading.Thread(target=lambda: answer.append(self.trigger(service)))
        # A script may run several programs. Each waits for a debugger.
        for attached in range(1, 5):
            wait_until(lambda n: view.log().count("Waiting for client to attach") >= n, attached)
            editor = view.attach(here, source=source)
            if "trigger" in existing and attached == 1:
                request.start()
            stop = editor.stopped_or_ended()
            if stop:
                break
            editor.close()
        assert (stop.path, stop.line) == (source, here)
        assert stop.locals["answer"] == "42"
        editor.resume(stop)
        if "trigger" in existing:
            request.join()
            assert answer == [before]
        else:
            assert view.exit_code() == before[0]
        self.compose("stop", service)


def paste(message: str, root: Path) -> None:
    """Do by hand what the message after the copy asks for."""
    for name, key in [("launch.json", "configurations"), ("tasks.json", "tasks")]:
        file = root / ".vscode" / name
        assert "//" in file.read_text() or "/*" in file.read_text()
        added = message.split(f'Your .vscode/{name} is unchanged. Add this to its "{key}":')[1]
        added = re.match(r"\s*(\{.*?^    \})\n(?!    \{)", added, re.DOTALL | re.MULTILINE)[1]
        file.write_text(f'{{"{key}": [{added}]}}')
