"""Fixtures: the template with its releases, and projects rendered from it, never with --trust."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.adopted import Adopted, paste
from support.container import Container, debug_python
from support.existing import ExistingProject
from support.ports import find_free_port
from support.project import Project, copy, remove_images
from support.rendering import (
    LATER,
    NEXT,
    RELEASED,
    RELEASES,
    REPOSITORY,
    answers,
    commit,
    copy_without_questions,
    git,
    render,
    replace,
)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """Install packages for the Python that is debugged, once.

    Returns a function of their names, which gives the setting with which programs find them.
    """

    @cache
    def installed(*packages: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("packages")
        python = os.environ.get("DEBUGGED_PYTHON", sys.executable)
        pip = [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
        subprocess.run([*pip, "--target", folder, *packages], check=True)
        return {"PYTHONPATH": str(folder)}

    return installed


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The releases and then the working tree, each a commit with its tag, as users find them."""
    copy = tmp_path_factory.mktemp("template") / "remora"
    for version in RELEASED:
        shutil.unpack_archive(RELEASES / f"{version}.tar.gz", copy, filter="data")
        commit(copy, tag=version)
        git(copy, "rm", "--quiet", "-r", ".")
    for name in git(
        REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard"
    ).splitlines():
        if (REPOSITORY / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, copy / name)
    commit(copy, tag=NEXT)
    return copy


@pytest.fixture(scope="session")
def plain_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template without its history, which is not cloned for each example."""
    copy = tmp_path_factory.mktemp("plain") / "remora"
    return shutil.copytree(template, copy, ignore=shutil.ignore_patterns(".git"))


# What is another in the later release: a line of each kind of file, and of some two that are near
# what an owner edits.
CHANGES = [
    ("template/Dockerfile.jinja", "PYTHONUNBUFFERED=1", "PYTHONUNBUFFERED=2"),
    ("template/_debugger.jinja", "interval: 10s", "interval: 20s"),
    ("template/docker/debug/remora/hub.py", "CHILD_TIMEOUT = 5", "CHILD_TIMEOUT = 9"),
    ("template/docker/debug/debug-entrypoint.sh.jinja", "set -eu", "set -e -u"),
    ("template/_configurations.jinja", ": attach", ": join"),
    ("template/README.md.jinja", "## Update it", "## Keep it up to date"),
    ("template/src/{{ package_name }}/train.py", "BATCH_SIZE = 100", "BATCH_SIZE = 200"),
    ("template/.gitignore.jinja", "{{ volume }}/\n", "{{ volume }}/\nlogs/\n"),
    # By the rules of CONTRIBUTING.md: one file is removed, and one has another name.
    ("copier.yml", "  - /_*\n", "  - /_*\n  - /.env.example\n  - /.github/workflows/ci.yml\n"),
]


@pytest.fixture(scope="session")
def later(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template with a later release."""
    later = tmp_path_factory.mktemp("later") / "remora"
    git(template.parent, "clone", "--quiet", str(template), str(later))
    for name, old, new in CHANGES:
        replace(later / name, old, new)
    files = later / "template"
    (files / ".env.example.jinja").unlink()
    workflows = files / ".github/workflows"
    (workflows / "ci.yml.jinja").rename(workflows / "tests.yml.jinja")
    (files / "tests/conftest.py").write_text('"""What the tests share."""\n')
    commit(later, tag=LATER)
    return later


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker Engine. Without one a test is skipped; in CI that is a failure."""
    if subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        reason = "no Docker Engine answers (tests/engine.sh start)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="session")
def debugged_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the debug layer."""
    return debug_python(tmp_path_factory.mktemp("image"))


@pytest.fixture
def container(debugged_python: Path, tmp_path: Path) -> Iterator[Container]:
    """A container without Docker."""
    container = Container(debugged_python, tmp_path)
    yield container
    container.stop()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Container]:
    """A container in whose debug layer is a copy of a project, which is empty yet."""
    (tmp_path / "app").mkdir()
    container = Container(debug_python(tmp_path), tmp_path / "app")
    yield container
    container.stop()


@pytest.fixture(scope="session")
def free_port() -> int:
    """Such a port, for all projects of the tests."""
    return find_free_port()


@pytest.fixture(scope="session")
def build(engine, template, free_port, tmp_path_factory):
    """Render a project with answers and build its images: once, for all tests.

    Compose labels them, and all that is started from them, with the project's name.
    """
    projects = []

    def build(prepare: Callable[[Path], None] = lambda root: None, **answers: Any) -> Project:
        root = tmp_path_factory.mktemp("built") / f"remora-test-{uuid.uuid4().hex[:8]}"
        render(template, root, debug_port=free_port, **answers)
        (root / ".env").write_text(f"HTTP_PORT={free_port + 5}\n")
        prepare(root)
        projects.append(Project(root))
        projects[-1].run("docker", "compose", "build")
        projects[-1].compose("build")
        return projects[-1]

    yield build
    for project in projects:
        remove_images(project, project.root.name)


@pytest.fixture(scope="session")
def built(build) -> Project:
    """A project with the default answers."""
    return build()


@pytest.fixture
def project(built, tmp_path):
    """A copy of the built project, to edit and to start."""
    project = copy(built, tmp_path)
    yield project
    project.down()


@pytest.fixture(scope="module")
def adopt(engine, template, free_port, tmp_path_factory):
    """Adopt a project of tests/projects; what is built from it is removed in the end."""
    adopted = {}

    def adopt(name: str) -> Adopted:
        if name not in adopted:
            existing = ExistingProject(name)
            root = existing.write(
                tmp_path_factory.mktemp("adopted") / f"remora-test-{uuid.uuid4().hex[:8]}"
            )
            data = {"debug_port": free_port, **existing.answers}
            options = [part for item in data.items() for part in ("--data", "{}={}".format(*item))]
            done = copy_without_questions(template, root, *options)
            assert done.returncode == 0, done.stderr
            existing.write(root, ignored=True)
            if ".vscode/launch.json" in answers(root)["kept_files"]:
                paste(done.stderr, root)
            adopted[name] = Adopted(existing, root)
        return adopted[name]

    yield adopt
    for project in adopted.values():
        name = project.model(project.compose)["name"]
        remove_images(project, name)


@pytest.fixture
def started(adopt):
    """Give a project of tests/projects, and end in it what a test has started."""
    projects = []

    def started(name: str) -> Adopted:
        projects.append(adopt(name))
        return projects[-1]

    yield started
    for project in projects:
        project.down()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show what a failed test's containers printed and what its debugger said."""
    report = yield
    if report.when == "call" and report.failed:
        for project in item.funcargs.values():
            if isinstance(project, (Project, Container)):
                report.sections.append(("container log", project.log()))
                report.sections.append(("DAP traffic", project.traffic()))
    return report
