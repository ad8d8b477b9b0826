"""The template and its releases, and Git and Copier as users run them, never with --trust."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import copier
import jinja2
from copier._main import Worker
from packaging.version import Version
from ruamel.yaml import YAML

from support.programs import program

REPOSITORY = Path(__file__).parents[2]
RELEASES = REPOSITORY / "tests/releases"
RELEASED = sorted((path.name.removesuffix(".tar.gz") for path in RELEASES.iterdir()), key=Version)

# The versions of the working tree and of a later one, both newer than every release.
NEXT, LATER = "9999.0.0", "9999.1.0"

# The values of _new.jinja, which the questions use.
NEW_PROJECT: Any = (
    jinja2.Environment(
        loader=jinja2.FileSystemLoader(REPOSITORY),
        extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
    )
    .get_template("template/_new.jinja")
    .module
)


COMPILE: Callable[..., object] = jinja2.Environment.compile
COMPILED: dict[tuple, object] = {}


def compile_once(
    self: jinja2.Environment,
    source: Any,
    name: str | None = None,
    filename: str | None = None,
    **options: bool,
) -> object:
    """Compile each text of the template once for all copies. This halves the time of a copy.

    Any environment with the same settings can use the result.
    """
    settings = (self.undefined, self.trim_blocks, self.lstrip_blocks, self.keep_trailing_newline)
    delimiters = (self.block_start_string, self.variable_start_string, self.comment_start_string)
    extensions = tuple(self.extensions)
    key = (source, name, *options.items(), type(self), settings, delimiters, extensions)
    # Copier records the last tag `yield` in the environment.
    for extension in self.iter_extensions():
        extension.preprocess(source, name, filename)
    if key not in COMPILED or "{% yield" in str(source):
        COMPILED[key] = COMPILE(self, source, name, filename, **options)
    return COMPILED[key]


mock.patch.object(jinja2.Environment, "compile", compile_once).start()

# Copier asks Git about each file, for a setting that only Windows has.
SETTING = "_sync_git_index_executable_bit"
mock.patch.object(Worker, SETTING, lambda *_: None, create=True).start()


def git(folder: Path, *arguments: str) -> str:
    """Run Git with the identity of a test, and return what it prints."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, text=True, stdout=subprocess.PIPE).stdout


def commit(folder: Path, tag: str | None = None) -> None:
    """Commit everything in a folder, and tag the commit. Make the folder a repository first."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "test")
    if tag:
        git(folder, "tag", tag)


def replace(file: Path, old: str, new: str) -> None:
    """Replace a text in a file. The text must exist."""
    text = file.read_text()
    assert old in text, f"{file}: {old!r}"
    file.write_text(text.replace(old, new))


def render(template: Path, folder: Path, version: str | None = None, **answers: object) -> Path:
    """Render a project without questions and without trust, and return its folder.

    version: the release of the template; the newest by default.
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


def known_files(template: Path) -> list[str]:
    """The files of a new project that the questions know, as globs of their paths."""
    with Worker(str(template), Path("nowhere")) as worker:
        module = worker.jinja_env.get_template("template/_files.jinja")
        return vars(module.make_module(dict(worker._render_context())))["files"]


def copy_without_questions(
    template: Path, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run `copier copy` as a user does without questions and without a terminal."""
    return subprocess.run(
        [program("copier"), "copy", "--defaults", *options, str(template), str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def reason(stderr: str) -> str:
    """The reason why Copier has written nothing. Copier must print only this line."""
    assert stderr.count("\n") == 1, stderr
    words = stderr.removeprefix("'dict object' has no attribute ")
    assert words != stderr, stderr
    return ast.literal_eval(words.strip())


def update(folder: Path, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `copier update` as a user does without questions and without a terminal."""
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
    """The content of each file of a project, by path, without Git's own files."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }
