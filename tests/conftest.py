"""Fixtures: the template with its releases, and projects rendered from it, never with --trust."""

from __future__ import annotations

import ast
import os
import random
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import copier
import jinja2
import pytest
from bare import Container, debug_python
from copier._main import Worker
from packaging.version import Version
from project import Project
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[1]
RELEASES = REPOSITORY / "tests/releases"
RELEASED = sorted((path.name.removesuffix(".tar.gz") for path in RELEASES.iterdir()), key=Version)

# What the working tree is taken for, and what comes after it: later than all that is released.
NEXT, LATER = "9999.0.0", "9999.1.0"

# What the questions know of a new project.
NEW_PROJECT = (
    jinja2.Environment(
        loader=jinja2.FileSystemLoader(REPOSITORY),
        extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
    )
    .get_template("template/_new.jinja")
    .module
)


COMPILE = jinja2.Environment.compile
COMPILED: dict[tuple, object] = {}


def compile_once(
    self: jinja2.Environment,
    source: Any,
    name: str | None = None,
    filename: str | None = None,
    **options: bool,
) -> object:
    """Compile a text of the template once in all copies: that is half of what each of them takes.

    What comes of it is for any environment with the same settings.
    """
    settings = (self.undefined, self.trim_blocks, self.lstrip_blocks, self.keep_trailing_newline)
    delimiters = (self.block_start_string, self.variable_start_string, self.comment_start_string)
    extensions = tuple(self.extensions)
    key = (source, name, *options.items(), type(self), settings, delimiters, extensions)
    if key not in COMPILED:
        COMPILED[key] = COMPILE(self, source, name, filename, **options)
    return COMPILED[key]


jinja2.Environment.compile = compile_once

# For each file, Copier asks Git for a setting that it has on Windows.
Worker._sync_git_index_executable_bit = lambda self, *arguments: None


def git(folder: Path, *arguments: str) -> str:
    """Run Git as nobody in particular, and return what it prints."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, text=True, stdout=subprocess.PIPE).stdout


def commit(folder: Path, tag: str | None = None) -> None:
    """Commit all that is in a folder, which becomes a repository if it is none, and tag it."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "test")
    if tag:
        git(folder, "tag", tag)


def replace(file: Path, old: str, new: str) -> None:
    """Edit a text in a file, which must be there."""
    text = file.read_text()
    assert old in text, f"{file}: {old!r}"
    file.write_text(text.replace(old, new))


def program(name: str) -> str:
    """The path of a program that pip has installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


def render(template: Path, folder: Path, version: str | None = None, **answers: object) -> Path:
    """Render a project without asking and without trust, and return its folder.

    version: the release of the template; the newest unless given.
    """
    copier.run_copy(
        str(template),
        folder,
        answers,
        vcs_ref=version,
        defaults=True,
        quiet=True,
        unsafe=False,
    )
    return folder


def copy_without_questions(
    template: Path, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run `copier copy` as a user does who wants no questions and has no terminal."""
    return subprocess.run(
        [program("copier"), "copy", "--defaults", *options, str(template), str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def needed(program: Path | str | None) -> str:
    """Return the path of a program. Without it a test is skipped; in CI that is a failure."""
    if program is None or not Path(program).exists():
        reason = "an editor is not installed: nox -s editors and nox -s vscode do it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return str(program)


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


def reason(stderr: str) -> str:
    """Why Copier has written nothing: that, in one line, is all that it prints."""
    assert stderr.count("\n") == 1, stderr
    words = stderr.removeprefix("'dict object' has no attribute ")
    assert words != stderr, stderr
    return ast.literal_eval(words.strip())


def update(folder: Path, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `copier update` as a user does who wants no questions and has no terminal."""
    done = subprocess.run(
        [program("copier"), "update", "--defaults", *options],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done


def answers(folder: Path) -> dict[str, Any]:
    """The answers that a project has recorded."""
    return YAML(typ="safe").load(folder / ".copier-answers.yml")


def contents(folder: Path) -> dict[Path, bytes]:
    """What is in each file of a project, by its path; Git's own are left out."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


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
    ("template/docker/debug/debug-entrypoint.sh.jinja", "exit 78", "exit 79"),
    ("template/_configurations.jinja", ": attach", ": join"),
    ("template/README.md.jinja", "## Update it", "## Keep it up to date"),
    ("template/src/{{ package_name }}/train.py", "BATCH_SIZE = 100", "BATCH_SIZE = 200"),
    ("template/.gitignore.jinja", "{{ volume }}/\n", "{{ volume }}/\nlogs/\n"),
    # By the rules of CONTRIBUTING.md: one file is removed, and one has another name.
    ("copier.yml", "  - /_*\n", "  - /_*\n  - /.env.example\n  - /tests/requirements.txt\n"),
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
    (files / "tests/requirements.txt.jinja").rename(files / "tests/tools.txt.jinja")
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


def find_free_port() -> int:
    """Return a port of this machine that nobody listens on, like the five after it."""
    # Not the first: a session beside this one may be about to listen there.
    for port in random.sample(range(20000, 30000, 10), 1000):
        with ExitStack() as probes:
            try:
                for number in range(port, port + 6):
                    probe = probes.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", number))
            except OSError:
                continue
        return port
    raise OSError("no free ports")


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

    def build(prepare: Callable[[Path], None] = lambda root: None, **answers: object) -> Project:
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


def remove_images(project: Project, name: str) -> None:
    """Remove the images that carry a project's label, those that a later build has replaced too."""
    images = ["docker", "image", "ls", "--all", "--quiet", "--filter"]
    found = project.run(*images, f"label=com.docker.compose.project={name}").stdout.split()
    if found:
        project.run("docker", "image", "rm", "--force", *set(found))


@pytest.fixture
def project(built, tmp_path):
    """A copy of the built project, to edit and to start."""
    project = copy(built, tmp_path)
    yield project
    project.down()


def copy(built: Project, folder: Path) -> Project:
    """Copy a built project: Compose knows it by its name, wherever it is."""
    shutil.copytree(built.root, folder / "my project")
    return Project(folder / "my project")


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
