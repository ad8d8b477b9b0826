"""Answers are refused before anything is written, with words that say what is allowed."""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
from pathlib import Path

import copier
import pytest
import yaml
from conftest import NEW_PROJECT, program, render

BAD = [
    ("project_name", "", "1 to 64 letters"),
    ("project_name", "x" * 65, "1 to 64 letters"),
    ("project_name", "-app", "begin and end"),
    ("project_name", "my app ", "begin and end"),
    ("project_name", "a: b", "letters"),
    ("project_name", "$(id)", "letters"),
    ("project_name", '"', "letters"),
    ("project_name", "{{ 1 }}", "letters"),
    ("project_name", "größe", "A to Z"),
    ("project_name", "two\nlines", "letters"),
    ("project_name", "ends\n", "letters"),
    ("package_name", "", "1 to 64 lowercase letters"),
    ("package_name", "my-app", "underscores"),
    ("package_name", "1app", "begin with a letter"),
    ("package_name", "App", "lowercase letters"),
    ("package_name", "_app", "begin with a letter"),
    ("package_name", "a" * 65, "1 to 64"),
    ("package_name", "class", "must not be a Python keyword"),
    ("package_name", "json", "a module of the standard library"),
    ("package_name", "distutils", "a module of the standard library"),
    ("package_name", "numpy", "a package that the project installs"),
    ("debug_port", 80, "from 1024 to 65534, not 80"),
    ("debug_port", 65536, "from 1024 to 65534, not 65536"),
    ("debug_port", 65535, "from 1024 to 65534, not 65535"),
    ("debug_port", -1, "from 1024 to 65534, not -1"),
    ("debug_port", "http", "from 1024 to 65534, not http"),
    ("debug_port", 5678.5, "from 1024 to 65534, not 5678.5"),
    ("debug_port", True, "from 1024 to 65534, not True"),
    ("debug_mode", "bogus", "'bogus' is not in ['wait', 'listen', 'demand', 'crash', 'off']"),
    ("debug_mode", "", "'' is not in ['wait', 'listen', 'demand', 'crash', 'off']"),
    ("python_version", "2.7", "'2.7' is not in ['3.14', "),
    ("python_version", 3.1, "'3.1' is not in ['3.14', "),
    ("base_image", "", "must be the name of an image"),
    ("base_image", "python:3.13 AS x", "must be the name of an image"),
    ("base_image", "python\nRUN id", "must be the name of an image"),
    ("base_image", "$IMAGE", "must be the name of an image"),
    ("base_image", "Python:3.13", "must be the name of an image"),
    ("base_image", "team//python", "must be the name of an image"),
    ("base_image", "python.", "must be the name of an image"),
    ("mode", "old", "'old' is not in ['new', 'adopt']"),
    ("services", [], "must name at least one service"),
    ("services", ["web"], "'web' is not in ['train', 'api', 'worker']"),
]


@pytest.mark.parametrize(("question", "answer", "message"), BAD)
def test_bad_answer_is_refused(
    template: Path, tmp_path: Path, question: str, answer: object, message: str
) -> None:
    with pytest.raises(ValueError, match=question) as refusal:
        render(template, tmp_path / "my-app", **{question: answer})
    assert message in str(refusal.value)
    assert not (tmp_path / "my-app").exists()


def test_command_line_says_why(template: Path, tmp_path: Path) -> None:
    data = ["--data", "debug_port=99999"]
    done = subprocess.run(
        [program("copier"), "copy", "--defaults", *data, template, "my-app"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert "'debug_port': must be a port from 1024 to 65534, not 99999" in last
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("port", [7998, 8000])
def test_debug_ports_leave_that_of_the_web_service_alone(
    template: Path, tmp_path: Path, port: int
) -> None:
    answers = {"services": ["api", "worker"], "debug_port": port}
    with pytest.raises(ValueError, match="no room for the web service"):
        render(template, tmp_path / "my-app", **answers)


@pytest.mark.parametrize(
    ("folder", "project", "package"),
    [
        ("my-app", "my-app", "my_app"),
        ("My App", "My-App", "my_app"),
        ("3d", "3d", "app_3d"),
        ("json", "json", "json_app"),
        ("test", "test", "test_app"),
        ("numpy", "numpy", "numpy_app"),
        ("class", "class", "class_app"),
        ("größe #1", "gr-e-1", "gr_e_1"),
        ("日本", "my-app", "my_app"),
        ("$(id) {{ x }} 'a' \"b\"", "id-x-a-b", "id_x_a_b"),
        ("x" * 100, "x" * 64, "x" * 64),
        ("y" * 63 + "-z", "y" * 63, "y" * 63),
        ("1" * 64, "1" * 64, "app_" + "1" * 60),
    ],
)
def test_any_folder_gives_good_names(
    template: Path, tmp_path: Path, folder: str, project: str, package: str
) -> None:
    render(template, tmp_path / folder)
    answers = yaml.safe_load((tmp_path / folder / ".copier-answers.yml").read_text())
    assert answers["project_name"] == project
    assert answers["package_name"] == package
    assert (tmp_path / folder / "src" / package / "train.py").exists()


def test_this_folder(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    render(template, Path("."))
    assert (tmp_path / "here/src/here/train.py").exists()


def test_nothing_that_exists_is_overwritten(template: Path, tmp_path: Path) -> None:
    rendered = render(template, tmp_path / "my-app")
    (rendered / ".copier-answers.yml").unlink()
    (rendered / "docker-compose.yml").unlink()  # which means a Compose project, as below
    for number, file in enumerate(path for path in rendered.rglob("*") if path.is_file()):
        name = file.relative_to(rendered)
        folder = tmp_path / f"{number}" / "my-app"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine\n")
        with pytest.raises(ValueError, match=re.escape(f"{folder / name} exists already")):
            render(template, folder)
        assert [path for path in folder.rglob("*") if path.is_file()] == [folder / name]
        assert (folder / name).read_text() == "mine\n"


def test_a_file_that_exists_can_be_kept(template: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine\n")
    copier.run_copy(
        str(template), tmp_path, defaults=True, skip_if_exists=["README.md"], quiet=True
    )
    assert (tmp_path / "README.md").read_text() == "mine\n"
    assert (tmp_path / "Dockerfile").exists()


@pytest.mark.parametrize("folder", ["my-app", "[x] *"])
@pytest.mark.parametrize(
    "name", ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"]
)
def test_a_compose_project_is_left_alone(
    template: Path, tmp_path: Path, name: str, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / name).write_text("services: {}\n")
    with pytest.raises(ValueError, match=re.escape(f"a Compose project already ({name})")):
        render(template, tmp_path / folder, mode="new")
    assert [path.name for path in (tmp_path / folder).iterdir()] == [name]


def test_reserved_names_are_complete() -> None:
    reserved = set(NEW_PROJECT.reserved_names)
    modules = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    assert modules | {word for word in keyword.kwlist if word.islower()} <= reserved
