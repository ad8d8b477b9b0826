"""Wrong answers are refused before anything is written, and the refusal says what is allowed."""

from __future__ import annotations

import json
import keyword
import os
import re
import sys
from pathlib import Path
from typing import Any

import copier
import jinja2
import pexpect
import pytest
import yaml
from copier.errors import UserMessageError
from support.programs import program
from support.rendering import NEW_PROJECT, REPOSITORY, copy_without_questions, reason, render

EDITORS = "must be a list of vscode, zed, devcontainer, such as [vscode, zed], or [] for none"
ENGINES = ["compose", "kubernetes"]
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
    ("package_name", "class", "is not a Python keyword"),
    ("package_name", "json", "a module of the standard library"),
    ("package_name", "distutils", "a module of the standard library"),
    ("package_name", "numpy", "a package that the project installs"),
    ("debug_port", 80, "from 1024 to 65533, not 80"),
    ("debug_port", 65536, "from 1024 to 65533, not 65536"),
    ("debug_port", 65535, "from 1024 to 65533, not 65535"),
    ("debug_port", 65534, "from 1024 to 65533, not 65534"),
    ("debug_port", -1, "from 1024 to 65533, not -1"),
    ("debug_port", "http", "from 1024 to 65533, not http"),
    ("debug_port", 5678.5, "from 1024 to 65533, not 5678.5"),
    ("debug_port", True, "from 1024 to 65533, not true"),
    ("debug_mode", "bogus", "one of wait, listen, demand, crash, dump, off, not bogus"),
    ("debug_mode", "", "one of wait, listen, demand, crash, dump, off, not nothing"),
    ("python_version", "2.7", "must be one of 3.15, 3.14, 3.13, 3.12, 3.11, not 2.7"),
    ("python_version", 3.1, "must be one of 3.15, 3.14, 3.13, 3.12, 3.11, not 3.1"),
    ("base_image", "", "must be the name of an image"),
    ("base_image", "python:3.13 AS x", "must be the name of an image"),
    ("base_image", "python\nRUN id", "must be the name of an image"),
    ("base_image", "$IMAGE", "must be the name of an image"),
    ("base_image", "Python:3.13", "must be the name of an image"),
    ("base_image", "team//python", "must be the name of an image"),
    ("base_image", "python.", "must be the name of an image"),
    ("base_digest", "latest", "must be empty, or sha256: and 64 hexadecimal digits"),
    ("base_digest", "sha256:0", "must be empty, or sha256: and 64 hexadecimal digits"),
    ("mode", "old", "must be one of new, adopt, not old"),
    ("services", [], "must contain at least one service"),
    ("services", ["web"], "must be a list of train, api, worker, such as [train, api], not [web]"),
    ("services", "train", "must be a list of train, api, worker, such as [train, api], not train"),
    ("services", "[", "must be a list of train, api, worker, such as [train, api], not ["),
    ("api_framework", "rails", "must be one of fastapi, flask, django, not rails"),
    ("gpu", "maybe", "must be true or false, not maybe"),
    ("engines", ["kubernetes"], "must contain compose, which builds the images and runs the tests"),
    ("engines", [], "must contain compose"),
    ("engines", ["swarm"], "must be a list of compose, kubernetes, such as [compose, kubernetes]"),
    ("ranks", 0, "must be a whole number from 1 to 1024, not 0"),
    ("ranks", 1025, "must be a whole number from 1 to 1024, not 1025"),
    ("ranks", "many", "must be a whole number from 1 to 1024, not many"),
    ("ranks", 2.5, "must be a whole number from 1 to 1024, not 2.5"),
    ("editors", "none", f"{EDITORS}, not none"),
    ("editors", ["vim"], f"{EDITORS}, not [vim]"),
    ("project_name", ["app"], "must be a text, not [app]"),
    ("project_name", {"name": "app"}, "must be a text, not {name: app}"),
    ("project_name", None, "must be a text, not nothing"),
    ("compose_files", "[", "must be a list of paths in one folder, such as [compose.yaml]"),
    ("compose_files", "[a/x.yaml, b/x.yaml]", "must be a list of paths in one folder"),
    ("compose_files", "[../x.yaml]", "must be paths below this folder"),
    ("debug_services", "{", "must be a list of services, such as [{name: web}, {name: worker}]"),
    ("debug_services", "[api]", "must be a list of services, such as [{name: api}]"),
    ("debug_services", ["a", "b c", "d"], "such as [{name: a}, {name: d}]"),
    ("debug_services", "b c", "such as [{name: web}, {name: worker}]"),
]


# The other answers with which a question applies
WHERE_IT_APPLIES: dict[str, dict[str, Any]] = {
    "api_framework": {"services": ["api"]},
    "ranks": {"engines": ENGINES},
    "debug_services": {"compose_files": ["compose.yaml"]},  # which means adoption
}


@pytest.mark.parametrize(("question", "answer", "message"), BAD)
def test_bad_answer_is_refused(
    plain_template: Path, tmp_path: Path, question: str, answer: Any, message: str
) -> None:
    with pytest.raises(UserMessageError, match=question) as refusal:
        others = WHERE_IT_APPLIES.get(question, {})
        render(plain_template, tmp_path / "my-app", **{**others, question: answer})
    assert message in reason(f"{refusal.value}\n")
    assert not (tmp_path / "my-app").exists()


ON_THE_COMMAND_LINE = [
    ("debug_port=99999", "debug_port: must be a port from 1024 to 65533, not 99999"),
    ("project_name=Ü", "project_name: must be 1 to 64 letters (A to Z), digits, spaces, dots,"),
    ("package_name=numpy", "package_name: numpy is reserved: choose a name that is not a"),
    ("base_image=a b", "base_image: must be the name of an image, such as python:3.13-slim"),
    ("services=train", "services: must be a list of train, api, worker, such as [train, api], not"),
    ("services=[", "services: must be a list of train, api, worker, such as [train, api], not ["),
    ("gpu=[", "gpu: must be true or false, not ["),
    ("engines=[kubernetes]", "engines: must contain compose, which builds the images and runs"),
    ("ranks=0", "ranks: must be a whole number from 1 to 1024, not 0"),
    (
        "debug_mode=bogus",
        "debug_mode: must be one of wait, listen, demand, crash, dump, off, not bogus",
    ),
    ("mode=old", "mode: must be one of new, adopt, not old"),
    ("compose_files=[", "compose_files: must be a list of paths in one folder, such as"),
    ("debug_services=web", "debug_services: must be a list of services, such as [{name: web}]"),
    ("debug_services=[", "debug_services: must be a list of services, such as [{name: web},"),
]


# Right answers that have no effect with the others
INAPPLICABLE = [
    ("api_framework", "django", {}, "services contains api"),
    ("gpu", True, {"services": ["api"]}, "services contains train"),
    ("ranks", 2, {}, "engines contains kubernetes"),
    ("ranks", 2, {"services": ["api"], "engines": ENGINES}, "services contains train"),
    *(
        (name, answer, {"mode": "adopt"}, "mode is new")
        for name, answer in {
            "package_name": "app",
            "python_version": "3.13",
            "base_image": "python",
            "base_digest": "",
            "services": ["api"],
            "api_framework": "django",
            "gpu": True,
            "ranks": 2,
        }.items()
    ),
    *(
        (name, answer, {"mode": "new"}, "mode is adopt")
        for name, answer in {
            "compose_files": ["compose.yaml"],
            "debug_services": [{"name": "web"}],
            "service_facts": {"web": {}},
            "compose_name": "app",
            "debug_file": "debug.yml",
            "dump_service": "dumps",
            "kept_files": [],
            "manifests": ["k8s/web.yaml"],
            "workloads": [{"name": "web", "service": "web"}],
        }.items()
    ),
]


@pytest.mark.parametrize(("question", "answer", "others", "condition"), INAPPLICABLE)
def test_answer_without_effect_is_refused(
    plain_template: Path,
    tmp_path: Path,
    question: str,
    answer: Any,
    others: dict[str, Any],
    condition: str,
) -> None:
    if others.get("mode") == "adopt":
        (tmp_path / "my-app").mkdir()
        (tmp_path / "my-app/compose.yaml").write_text("services: {web: {build: .}}\n")
        (tmp_path / "my-app/main.py").write_text("print(1)\n")
    with pytest.raises(UserMessageError) as refusal:
        render(plain_template, tmp_path / "my-app", **{**others, question: answer})
    assert reason(f"{refusal.value}\n") == f"{question}: applies only if {condition}"


def test_every_question_with_a_condition_is_tried() -> None:
    questions = yaml.safe_load((REPOSITORY / "copier.yml").read_text())
    conditions = {
        name: each["when"]
        for name, each in questions.items()
        if not name.startswith("_") and isinstance(each.get("when"), str)
    }
    tried: dict[str, str] = {}
    for name, _, _, condition in INAPPLICABLE:
        tried[name] = f"{tried.get(name, '')} {condition}"
    words = {name: set(re.findall("'(.+?)'", when)) for name, when in conditions.items()}
    assert {name: set(text.split()) & words[name] for name, text in tried.items()} == words


@pytest.mark.parametrize(("answer", "message"), ON_THE_COMMAND_LINE)
def test_command_line_says_why_in_one_line(
    template: Path, tmp_path: Path, answer: str, message: str
) -> None:
    others = WHERE_IT_APPLIES.get(answer.partition("=")[0], {})
    given = [f"--data={name}={json.dumps(value)}" for name, value in others.items()]
    done = copy_without_questions(template, tmp_path / "my-app", *given, "--data", answer)
    assert done.returncode == 1
    assert reason(done.stderr).startswith(message)
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_refusal_is_one_message(template: Path, tmp_path: Path) -> None:
    done = copy_without_questions(template, tmp_path / "my-app", "--data=services=")
    expected = "must be a list of train, api, worker, such as [train, api], not nothing"
    assert reason(done.stderr) == f"services: {expected}"


# Values that are found and recorded, or follow from other answers, and wrong values for them.
DERIVED = "cannot be set, because it follows from the other answers"
FOUND = [
    *(
        (name, answer, DERIVED)
        for answer in ("x", [1])
        for name in (
            *("choices", "project_slug", "refusal_of_mode", "refusal_of_adoption"),
            *("included_files", "extended_files", "dockerfiles", "manifest_files"),
            *("start_mode", "debuggees", "cluster"),
        )
    ),
    ("service_facts", "x", "must be a mapping from each service"),
    ("service_facts", "[1]", "must be a mapping from each service to the facts about it, not [1]"),
    ("service_facts", "{web: 1}", "must be a mapping from each service"),
    ("service_facts", "{api: {}}", "must have exactly these services: web"),
    ("service_facts", "{web: {files: x}}", "has values of the wrong type: files"),
    ("service_facts", {"web": {"image": [1]}}, "has values of the wrong type: image"),
    ("compose_name", ["x"], "must be a text"),
    ("compose_name", None, "must be a text, not nothing"),
    ("debug_file", {}, "must be a text"),
    ("debug_file", "main.py", "must be the path of a YAML file below this folder"),
    ("debug_file", "../debug.yml", "must be the path of a YAML file below this folder"),
    ("debug_file", "[", "must be the path of a YAML file below this folder"),
    ("dump_service", [], "must be a text"),
    ("dump_service", "my dumps", "must be a valid name for a service and a volume of Compose"),
    ("dump_port", 5700, "it follows from the other answers"),
    ("kept_files", "x", "must be a list of paths, such as [.vscode/launch.json], not x"),
    ("kept_files", "[1]", "must be a list of paths"),
    ("kept_files", "{", "must be a list of paths"),
    ("manifests", "x", "must be a list of paths, such as [k8s/kustomization.yaml], not x"),
    ("manifests", "[1]", "must be a list of paths"),
    ("manifests", ["../x.yaml"], "must be paths below this folder"),
    ("old_names", "x", "must be true or false, not x"),
    ("refresh", "x", "must be true or false, not x"),
    ("refresh", [], "must be true or false, not []"),
]


@pytest.mark.parametrize(("question", "answer", "message"), FOUND)
def test_wrong_values_of_what_copier_finds_are_refused(
    plain_template: Path, tmp_path: Path, question: str, answer: Any, message: str
) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {build: .}}\n")
    (tmp_path / "main.py").write_text("print(1)\n")
    with pytest.raises(UserMessageError) as refusal:
        render(plain_template, tmp_path, **{question: answer})
    assert reason(f"{refusal.value}\n").startswith(f"{question}: ")
    assert message in reason(f"{refusal.value}\n")
    assert len(list(tmp_path.iterdir())) == 2


def test_every_answer_that_copier_finds_is_tried() -> None:
    questions = yaml.safe_load((REPOSITORY / "copier.yml").read_text())
    never_asked = {
        name
        for name, each in questions.items()
        if not name.startswith("_") and "help" not in each and name != "compose_files"
    }
    assert {name for name, _, _ in FOUND} == never_asked


def test_bad_answer_is_refused_where_it_is_typed(template: Path, tmp_path: Path) -> None:
    command = pexpect.spawn(
        program("copier"),
        ["copy", "--data=mode=new", str(template), "app"],
        cwd=tmp_path,
        # The test's terminal does not report the position of its cursor.
        env={**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1"},
        dimensions=(24, 300),
        timeout=60,
    )
    command.expect("What is the project's name")
    command.send("!\r")
    command.expect("'project_name': must be 1 to 64 letters")
    command.close(force=True)
    assert list(tmp_path.iterdir()) == []


def test_choices_are_those_that_are_asked() -> None:
    questions = yaml.safe_load((REPOSITORY / "copier.yml").read_text())
    choices = questions["choices"]["default"]
    asked = {name: each["choices"] for name, each in questions.items() if "choices" in each}
    # A project keeps a version that is no longer offered.
    versions = jinja2.Template(asked["python_version"])
    offered = ["3.15", "3.14", "3.13", "3.12", "3.11"]
    assert yaml.safe_load(versions.render(choices=choices)) == offered
    had = versions.render(choices=choices, python_version="3.10")
    assert {**asked, "python_version": yaml.safe_load(had)} == choices


@pytest.mark.parametrize("port", [7997, 8000])
def test_debug_ports_leave_port_8000_to_the_web_service(
    plain_template: Path, tmp_path: Path, port: int
) -> None:
    with pytest.raises(UserMessageError, match="must leave port 8000 to the web service"):
        render(plain_template, tmp_path / "my-app", services=["api", "worker"], debug_port=port)


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
    plain_template: Path, tmp_path: Path, folder: str, project: str, package: str
) -> None:
    render(plain_template, tmp_path / folder)
    answers = yaml.safe_load((tmp_path / folder / ".copier-answers.yml").read_text())
    assert answers["project_name"] == project
    assert answers["package_name"] == package
    assert (tmp_path / folder / "src" / package / "train.py").exists()


def test_project_is_rendered_into_this_folder(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    render(template, Path("."))
    assert (tmp_path / "here/src/here/train.py").exists()


def test_nothing_that_exists_is_overwritten(plain_template: Path, tmp_path: Path) -> None:
    rendered = render(plain_template, tmp_path / "my-app")
    (rendered / ".copier-answers.yml").unlink()
    (rendered / "docker-compose.yml").unlink()  # which means a Compose project, as below
    for number, file in enumerate(path for path in rendered.rglob("*") if path.is_file()):
        name = file.relative_to(rendered)
        folder = tmp_path / f"{number}" / "my-app"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine\n")
        with pytest.raises(UserMessageError, match=re.escape(f"{folder / name} exists already")):
            render(plain_template, folder)
        assert [path for path in folder.rglob("*") if path.is_file()] == [folder / name]
        assert (folder / name).read_text() == "mine\n"


def test_a_file_that_exists_can_be_kept(template: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine\n")
    copier.run_copy(
        str(template), tmp_path, defaults=True, skip_if_exists=["README.md"], quiet=True
    )
    assert (tmp_path / "README.md").read_text() == "mine\n"
    assert (tmp_path / "Dockerfile").exists()


def test_refusal_of_this_folder_names_it(
    plain_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserMessageError, match=f"{tmp_path} already contains a Compose project"):
        render(plain_template, Path("."), mode="new")


@pytest.mark.parametrize("folder", ["my-app", "[x] *"])
@pytest.mark.parametrize(
    "name", ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"]
)
def test_a_compose_project_is_left_alone(
    plain_template: Path, tmp_path: Path, name: str, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / name).write_text("services: {}\n")
    with pytest.raises(
        UserMessageError, match=re.escape(f"already contains a Compose project ({name})")
    ):
        render(plain_template, tmp_path / folder, mode="new")
    assert [path.name for path in (tmp_path / folder).iterdir()] == [name]


def test_reserved_names_are_complete() -> None:
    reserved = set(NEW_PROJECT.reserved_names)
    modules = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    assert modules | {word for word in keyword.kwlist if word.islower()} <= reserved
