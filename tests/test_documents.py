"""The commands of the README do what it says."""

from __future__ import annotations

import re
import subprocess
import uuid
from pathlib import Path

import pytest
from conftest import REPOSITORY, git, remove_images, render
from project import TIMEOUT, Project
from shape import Shape


def commands() -> list[str]:
    return re.findall(r"```sh\n(.+?)\n```", (REPOSITORY / "README.md").read_text(), re.DOTALL)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    (tests,) = (c for c in commands() if c.endswith(".venv/bin/nox"))
    assert tests in (REPOSITORY / ".ci/run").read_text().splitlines()


def test_trees_of_an_adopted_project_are_real(template: Path, tmp_path: Path) -> None:
    before, after = re.findall(
        r"```\nmailer/\n(.+?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL
    )
    root = Shape("web-and-worker-redis").write(tmp_path / "mailer")
    assert set(re.findall(r"── (\S+?)/?(?:\s|$)", before)) == names(root)
    render(template, root)
    editor = {"extensions.json", "launch.json", "tasks.json", "debug"}
    shown = set(re.findall(r"── (?:docker/)?(\S+?)/?(?:\s|$)", after))
    assert shown == names(root) - editor - {"docker"} | {"debug"}


def names(root: Path) -> set[str]:
    """The names of all files and folders below one."""
    return {path.name for path in root.rglob("*")}


def test_tree_is_what_is_rendered(template: Path, tmp_path: Path) -> None:
    rendered = render(template, tmp_path / "my-app")
    tree = (REPOSITORY / "README.md").read_text().split("my-app/\n")[1].split("```")[0]
    for path in re.findall(r"── (\S+)", tree):
        assert any(rendered.rglob(path.rstrip("/"))), path
    for path in rendered.iterdir():
        assert path.name in tree


@pytest.mark.parametrize("document", ["README.md", "SECURITY.md"])
def test_every_test_that_is_named_exists(document: str) -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", (REPOSITORY / document).read_text())
    assert named
    for name in named:
        assert f"def {name}(" in tests


@pytest.fixture
def demo(engine: None, template: Path, tmp_path: Path, free_port: int):
    """A project that the README's first command has rendered and started from a fresh clone."""
    git(tmp_path, "clone", "--quiet", str(template), "remora")
    name = f"remora-test-{uuid.uuid4().hex[:8]}"
    command = f"{commands()[0]} -- ../{name} --data debug_port={free_port}"
    project = Project(tmp_path / name)
    try:
        subprocess.run(
            ["bash", "-c", command], cwd=tmp_path / "remora", check=True, timeout=TIMEOUT
        )
        yield project
    finally:
        project.down()
        remove_images(project, name)


@pytest.mark.docker
def test_first_command_starts_a_project_that_stops_at_a_breakpoint(demo: Project) -> None:
    line = demo.line("losses.append(loss)")
    stop = demo.attach(line).stopped()
    assert (stop.path, stop.line) == (demo.source, line)
