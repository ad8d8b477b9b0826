"""Breakpoints find their file, wherever a Dockerfile has put it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.container import Container, imported

with imported("remora.sources.files") as FILES, imported("remora.sources.project") as PROJECT:
    pass
Files: Any = FILES.Files

# The path of the project on the developer's machine.
HOME = "/home/dev/shop"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with an empty project and an empty image."""
    (tmp_path / "project").mkdir()
    (tmp_path / "image/app").mkdir(parents=True)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class Image(Files):
    """What a program sees in `/app` of an image, with a virtual environment in `/venv`."""

    def __init__(self, tree: Path, mappings: tuple[tuple[str, str], ...] = ()) -> None:
        self.tree = tree
        here = [(there, str(tree / "image" / path)) for there, path in mappings]
        super().__init__(PROJECT.Project(str(tree / "project")), here)
        self.mounts: list[Any] = []

    def roots(self) -> list[str]:
        return [str(self.tree / "image" / name) for name in ("app", "venv/site-packages")]

    def found(self, path: str) -> list[str]:
        """The files of the image that a client's path stands for."""
        image = self.tree / "image"
        return sorted(str(Path(p).relative_to(image)) for p in self.places(self.local(path)))

    def named(self, path: str) -> str | None:
        """The client's path for a file of the image."""
        return self.path_of(str(self.tree / "image" / path))


# ---- Any tree ----

NAMES = st.sampled_from(["api", "worker", "lib", "shop"])
FILES_OF_TREE = st.dictionaries(
    st.tuples(
        st.lists(NAMES, max_size=3).map(tuple),
        st.sampled_from(["__init__.py", "main.py", "utils.py", "config.py"]),
    ).map(lambda found: str(PurePosixPath(*found[0], found[1]))),
    # Some files are empty, and some have the same content.
    st.sampled_from(["", "import os\n", "x = 1\n", *[None] * 5]),
    min_size=1,
    max_size=12,
)
COPIES = st.lists(
    st.tuples(
        st.sampled_from(["whole", "below", "renamed", "single", "wheel"]),
        st.integers(0, 100),
    ),
    min_size=1,
    max_size=3,
)


def copy(project: Path, image: Path, kind: str, pick: int) -> Iterator[tuple[Path, str]]:
    """Copy a part of a project into an image, and yield each copy with its original."""
    files = sorted(path.relative_to(project) for path in project.rglob("*.py"))
    chosen = files[pick % len(files)]
    folder = [*chosen.parents][pick % len(chosen.parents)]
    target = {
        "whole": image / "app",
        "below": image / "app",
        "renamed": image / "app/renamed",
        "single": image / "app",
        "wheel": image / "venv/site-packages" / folder.name,
    }[kind]
    for file in files:
        if kind == "whole":
            copied = target / file
        elif kind == "single" and file == chosen:
            copied = target / file.name
        elif kind != "single" and folder in file.parents:
            copied = target / file.relative_to(folder)
        else:
            continue
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project / file, copied)
        yield copied, str(file)


@settings(max_examples=60, deadline=None)
@given(files=FILES_OF_TREE, copies=COPIES, is_mapped=st.booleans())
def test_any_copy_is_found_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    files: dict[str, str | None],
    copies: list[tuple[str, int]],
    is_mapped: bool,
) -> None:
    tree = tmp_path_factory.mktemp("tree")
    project, image = tree / "project", tree / "image"
    (image / "app").mkdir(parents=True)
    for number, (name, text) in enumerate(files.items()):
        write(project / name, f"value = {number}\n" if text is None else text)
    truth: dict[Path, str] = {}
    for kind, pick in copies:
        truth.update(copy(project, image, kind, pick))

    known = Image(tree, ((HOME, "app"),) if is_mapped else ())
    texts = [(project / name).read_text() for name in files]
    for name in files:
        text = (project / name).read_text()
        # A breakpoint is shown as set only if it is in a copy of this very file.
        for place in known.places(known.local(f"{HOME}/{name}")):
            assert text == "" or Path(place).read_text() == text
    for file, name in truth.items():
        text = file.read_text()
        if text and texts.count(text) == 1 and known.root == HOME:
            # The file is known once it runs.
            assert known.path_of(str(file)) == f"{HOME}/{name}"
            assert str(file) in known.places(known.local(f"{HOME}/{name}"))
    # A file that does not exist is not mistaken for another one.
    for name in set(files) - set(truth.values()):
        text = (project / name).read_text()
        if text and texts.count(text) == 1:
            assert known.places(known.local(f"{HOME}/{name}")) == []


# ---- Any place ----

PROGRAM = """
def work(name):
    answer = name + "!"
    return answer  # here

print(work("a"), flush=True)
"""
LINE = PROGRAM.splitlines().index("    return answer  # here") + 1

# The project's program that should stop; the places of its copies in the container, below `app`,
# where the command starts, and `site`, with installed packages; and the command.
PLACES = {
    "the content of a folder": ("api/main.py", ["app/main.py"], "python main.py"),
    "a folder further down": ("main.py", ["app/bot/main.py"], "python bot/main.py"),
    "another working directory": (
        "src/main.py",
        ["app/src/main.py"],
        "app=$PWD && cd / && python $app/src/main.py",
    ),
    "below the root": ("main.py", ["app/main.py"], "app=$PWD && cd / && python ./$app/main.py"),
    "an installed package": (
        "src/shop/core.py",
        ["app/src/shop/core.py", "site/shop/core.py"],
        "PYTHONPATH=../site python -m shop.core",
    ),
    "an installed package only": (
        "packages/core/shop/core.py",
        ["site/shop/core.py"],
        "PYTHONPATH=../site python -m shop.core",
    ),
    "a module of its own": ("tool.py", ["site/tool.py"], "PYTHONPATH=../site python -m tool"),
    "a namespace package": (
        "libs/a/acme/a/run.py",
        ["site/acme/a/run.py"],
        "PYTHONPATH=../site python -m acme.a.run",
    ),
    "a single file elsewhere": (
        "config.py",
        ["etc/config.py"],
        "python -c 'import sys; sys.path.append(\"../etc\"); import config'",
    ),
    "another name": ("deploy/main.prod.py", ["app/run.py"], "python run.py"),
    "a symbolic link": ("main.py", ["app/main.py"], "ln -s main.py run.py && python run.py"),
    "a zip file": (
        "src/shop/core.py",
        ["app/shop/core.py"],
        "python -m zipfile -c ../shop.zip shop && rm -r shop"
        " && PYTHONPATH=../shop.zip python -m shop.core",
    ),
    "a file that is made later": (
        "gen/core.py",
        ["app/template"],
        'python -c \'import os; os.rename("template", "core.py"); import core\'',
    ),
    "compiled elsewhere": (
        "src/shop/core.py",
        ["app/src/shop/core.py"],
        "python -m compileall -q -b -d /build/src/shop src/shop && rm src/shop/core.py"
        " && PYTHONPATH=src python -c 'import shop.core'",
    ),
}

# The client's path of the project's folder, and whether the client maps it.
CLIENTS = {
    "mapped": ("/home/dev/shop", True),
    "not mapped": ("/home/dev/shop", False),
    "Windows": ("c:\\Users\\Dev Eloper\\shop", True),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("place", PLACES)
def test_breakpoint_finds_its_file(shop: Container, place: str, client: str) -> None:
    name, copies, command = PLACES[place]
    root, is_mapped = CLIENTS[client]
    tree = shop.folder.parent
    write(tree / "project" / name, PROGRAM)
    for copied in copies:
        write(tree / copied, PROGRAM)
    # Other files of the same name, which must not be mistaken for it.
    names = [f"other/{name}", f"docs/{Path(name).name}"]
    for other in names:
        write(tree / "project" / other, PROGRAM.replace("!", other))
    separator = "\\" if "\\" in root else "/"
    path, *others = (Path(root + separator + n.replace("/", separator)) for n in [name, *names])

    shop.start(command)
    mappings = [{"localRoot": root, "remoteRoot": "."}] if is_mapped else []
    breakpoints = {one: [LINE] for one in [path, *others]}
    editor = shop.attach(breakpoints, pathMappings=mappings, justMyCode=True)
    stop = editor.stopped()
    assert (str(stop.path), stop.line) == (str(path), LINE)
    assert stop.locals == {"name": "'a'", "answer": "'a!'"}
    # The client now shows the truth.
    shown = editor.clients[0].breakpoints.values()
    assert {b["source"]["path"] for b in shown if b["verified"]} == {str(path)}
    assert all("is not in this container" in b["message"] for b in shown if not b["verified"])
    editor.resume(stop)
    assert shop.exit_code() == 0
    assert "a!" in shop.lines


# What the container has, and what the debugger says about the project's lib/main.py.
MISSING = {
    "nothing": (
        {},
        "is not in this container, as far as is known: nothing like it is below {}/app",
    ),
    "an older one of this or of other/main.py": (
        {"app/main.py": PROGRAM + "# older"},
        "is not in this container, as far as is known: {}/app/main.py"
        " differs from it, or several files may be it",
    ),
    "another one": (
        {"app/lib/main.py": "another"},
        "is not in this container, as far as is known: {}/app/lib/main.py is other/main.py",
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_file_that_is_not_in_the_image_is_reported(shop: Container, case: str) -> None:
    there, reason = MISSING[case]
    tree = shop.folder.parent
    write(tree / "project/lib/main.py", PROGRAM)
    write(tree / "project/other/main.py", "another")
    for name, text in there.items():
        write(tree / name, text)
    shop.start("sleep 1000 | python -c 'input()'")
    editor = shop.attach({Path(f"{HOME}/lib/main.py"): [LINE]})
    (found,) = editor.clients[0].breakpoints.values()
    assert not found["verified"]
    assert found["message"].startswith("lib/main.py " + reason.format(tree))


def test_line_that_is_not_in_the_image_is_reported(shop: Container) -> None:
    """The editor's file has been edited since the image was built."""
    path = shop.write("main.py", PROGRAM)
    write(shop.folder.parent / "project/main.py", PROGRAM)
    shop.start("python main.py")
    editor = shop.attach({Path("/home/dev/shop/main.py"): [LINE, 99]})
    stop = editor.stopped()
    assert stop.line == LINE
    set_, not_set = editor.clients[0].breakpoints.values()
    assert set_["verified"] and not not_set["verified"]
    assert not_set["message"] == f"{path} has no line 99: build the image again"
    editor.resume(stop)
    assert shop.exit_code() == 0


@pytest.mark.parametrize("mapped", ["mapped", "not mapped"])
def test_breakpoint_stops_without_a_copy_of_the_project(container: Container, mapped: str) -> None:
    """As in a new project, whose folders have the same places in the container."""
    container.write("pkg/core.py", PROGRAM)
    container.write("pkg/__init__.py", "")
    container.start("python -m pkg.core")
    path = Path("/home/dev/shop/pkg/core.py")
    mappings = [{"localRoot": "/home/dev/shop", "remoteRoot": "."}] if mapped == "mapped" else []
    editor = container.attach({path: [LINE]}, pathMappings=mappings)
    stop = editor.stopped()
    assert (stop.path, stop.line) == (path, LINE)
    editor.resume(stop)
    assert container.exit_code() == 0


def test_what_is_installed_in_the_projects_folder_is_not_the_projects(tree: Path) -> None:
    """In a Dev Container, the copy of the project is the project itself, with its environment."""
    installed = [".venv/lib/python3.13/site-packages/lib.py", "ui/node_modules/gyp/lib.py"]
    for name in ["shop/lib.py", *installed]:
        write(tree / "project" / name, "x = 1\n")
    project = PROJECT.Project(str(tree / "project"))
    assert "shop/lib.py" in project
    assert not any(name in project for name in installed)


def test_folder_of_the_project_can_be_mapped(tree: Path) -> None:
    """As an adopted project may have answered: only `api` is in `/app`."""
    for name in ["api/main.py", "api/shop/views.py", "api/shop/shop/models.py"]:
        write(tree / "project" / name, name)
        write(tree / "image/app" / name.partition("/")[2], name)
    write(tree / "project/main.py", "another")
    known = Image(tree, ((f"{HOME}/api", "app"),))
    # A client may show a stop before it sets a breakpoint.
    assert known.named("app/shop/views.py") == f"{HOME}/api/shop/views.py"
    assert known.found(f"{HOME}/api/main.py") == ["app/main.py"]
    assert known.found(f"{HOME}/main.py") == []


@pytest.mark.parametrize("folder", ["shop", ""])
def test_mapping_of_a_folder_that_is_called_as_one_in_it(tree: Path, folder: str) -> None:
    """As in projects of Django: `shop/shop/settings.py`."""
    for name in ["manage.py", "shop/settings.py"]:
        write(tree / "project" / name, name)
        write(tree / "image/app" / name, name)
    there, here = (HOME, "app") if not folder else (f"{HOME}/{folder}", f"app/{folder}")
    known = Image(tree, ((there, here),))
    assert known.named("app/shop/settings.py") == f"{HOME}/shop/settings.py"
    assert known.found(f"{HOME}/shop/settings.py") == ["app/shop/settings.py"]


def test_working_directory_that_is_deleted(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tree / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.syspath_prepend("")
    files = FILES.Files(PROJECT.Project(str(tree / "project")))
    assert all(Path(root).is_absolute() for root in files.roots())


def test_files_of_a_mounted_folder_are_found(tmp_path: Path) -> None:
    """The folder contains broken links, and files of all kinds."""
    (tmp_path / "a.py").write_text("a = 1\n")
    (tmp_path / "gone.py").symlink_to("nowhere")
    (tmp_path / "data.bin").write_bytes(b"a = 1\n")
    project = PROJECT.Project(str(tmp_path))
    assert project.holding(b"a = 1\n") == ["a.py"]
    assert "gone.py" not in project and "data.bin" not in project
