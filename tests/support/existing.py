"""A project of tests/projects: a small Compose project, as other people write them.

Each file there is one project. Its keys:

    holds      the kinds of real Compose projects that it represents
    files      the project: the text of each file, by path; `*.sh` are executable
    ignored    the same for files that only the owner has, outside the repository; optional
    answers    what a user has to answer if adoption cannot find it out; optional
    services   the services to debug, by name, each with
                 stop           the file whose line marked `# here` stops, with `answer` 42;
                                absent if a test cannot reach the line
                 trigger        for a server: the command in the container that reaches the line
    environment  settings of the debugger for the test; optional
    starts     whether it runs on the images of tests/engine.sh
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).parents[1] / "projects"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))


class ExistingProject:
    """The project that a file of tests/projects describes."""

    def __init__(self, name: str) -> None:
        data = YAML(typ="safe").load(FOLDER / f"{name}.yml")
        self.name = name
        self.holds: list[str] = data["holds"]
        self.files: dict[str, str] = data["files"]
        self.ignored: dict[str, str] = data.get("ignored", {})
        self.answers: dict[str, Any] = data.get("answers", {})
        self.services: dict[str, dict[str, Any]] = data["services"]
        self.environment: dict[str, Any] = data.get("environment", {})
        self.starts: bool = data["starts"]

    def write(self, root: Path, *, ignored: bool = False) -> Path:
        """Write the project, or its ignored files, into a folder, and return the folder."""
        for name, text in (self.ignored if ignored else self.files).items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if path.suffix == ".sh" else 0o644)
        return root

    def debug_services(self) -> list[dict[str, Any]]:
        """The right answer to the question `debug_services`."""
        return [{"name": name} for name in self.services]


def startable() -> list[str]:
    """The names of the projects that run here."""
    return [name for name in NAMES if ExistingProject(name).starts]
