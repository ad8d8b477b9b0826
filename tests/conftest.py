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
from support.ports import first_of_six_free_ports
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

    Returns a function that takes their names and returns the setting with which programs find them.
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
    """A repository with a tagged commit for each release, and one for the working tree."""
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
    """The template without Git, so that no example has to clone it."""
    copy = tmp_path_factory.mktemp("plain") / "remora"
    return shutil.copytree(template, copy, ignore=shutil.ignore_patterns(".git"))


# The lines that the later release changes: at least one in each kind of file, some of them next to
# lines that an owner edits.
CHANGES = [
    ("template/Dockerfile.jinja", "PYTHONUNBUFFERED=1", "PYTHONUNBUFFERED=2"),
    ("template/_debugger.jinja", "interval: 10s", "interval: 20s"),
    ("template/docker/debug/remora/hub/hub.py", "CHILD_TIMEOUT = 5", "CHILD_TIMEOUT = 9"),
    ("template/docker/debug/debug-entrypoint.sh.jinja", "set -eu", "set -e -u"),
    ("template/_vscode_configurations.jinja", ": attach", ": join"),
    ("template/README.md.jinja", "## Update it", "## Keep it up to date"),
    ("template/src/{{ package_name }}/train.py", "BATCH_SIZE = 100", "BATCH_SIZE = 200"),
    ("template/.gitignore.jinja", "{{ volume }}/\n", "{{ volume }}/\nlogs/\n"),
    # As CONTRIBUTING.md allows, this release removes one file and renames another.
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
    """A container that needs no Docker."""
    container = Container(debugged_python, tmp_path)
    yield container
    container.stop()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Container]:
    """A container whose debug layer contains a copy of a project, which is still empty."""
    (tmp_path / "app").mkdir()
    container = Container(debug_python(tmp_path), tmp_path / "app")
    yield container
    container.stop()


@pytest.fixture(scope="session")
def free_port() -> int:
    """A port that all projects of the tests use."""
    return first_of_six_free_ports()


@pytest.fixture(scope="session")
def build(engine, template, free_port, tmp_path_factory):
    """Render a project with given answers, and build its images once for all tests.

    Compose labels the images and their containers with the project's name.
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
    """A copy of the built project, which a test may edit and start."""
    project = copy(built, tmp_path)
    yield project
    project.down()


@pytest.fixture(scope="module")
def adopt(engine, template, free_port, tmp_path_factory):
    """Adopt a project of tests/projects. Remove its images in the end."""
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
    """Give a project of tests/projects, and stop in the end what a test has started there."""
    projects = []

    def started(name: str) -> Adopted:
        projects.append(adopt(name))
        return projects[-1]

    yield started
    for project in projects:
        project.down()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the logs of a failed test's containers, and the debugger's traffic."""
    report = yield
    if report.when == "call" and report.failed:
        for project in item.funcargs.values():
            if isinstance(project, (Project, Container)):
                report.sections.append(("container log", project.log()))
                report.sections.append(("DAP traffic", project.traffic()))
    return report
