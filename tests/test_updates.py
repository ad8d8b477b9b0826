"""`copier update` brings what is new and keeps what the user has done, without --trust."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import LATER, NEXT, RELEASED, REPOSITORY, commit, contents, git, program, render


@pytest.fixture
def releases(template: Path, tmp_path: Path) -> Path:
    """The template with a later release, in which a line of each kind of file is another."""
    later = tmp_path / "remora"
    shutil.copytree(template, later)
    for name, old, new in [
        ("Dockerfile.jinja", "PYTHONUNBUFFERED=1", "PYTHONUNBUFFERED=2"),
        ("_debugger.jinja", "interval: 10s", "interval: 20s"),
        ("docker/debug/debug_session.py", "PORT_TIMEOUT = 10", "PORT_TIMEOUT = 20"),
        ("docker/debug/debug-entrypoint.sh.jinja", "exit 78", "exit 79"),
        ("_configurations.jinja", " to listen, and attach", " to listen, and join"),
        ("README.md.jinja", "## Update it", "## Keep it up to date"),
        ("src/{{ package_name }}/train.py", "BATCH_SIZE = 100", "BATCH_SIZE = 200"),
    ]:
        replace(later / "template" / name, old, new)
    commit(later, tag=LATER)
    return later


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, f"{file}: {old!r}"
    file.write_text(text.replace(old, new))


def start(releases: Path, folder: Path, **answers: object) -> Path:
    """A project of the first release, as its owner has committed it."""
    render(releases, folder, version=NEXT, **answers)
    commit(folder)
    return folder


def update(folder: Path, *options: str) -> None:
    """Run `copier update` as a user does who wants no questions, and read what it says."""
    command = [program("copier"), "update", "--defaults", *options]
    done = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert "Your edits are kept" in done.stderr
    assert "is up to date" in done.stderr


def test_every_release_is_kept() -> None:
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    noted = re.findall(r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", changelog, re.MULTILINE)
    assert noted == RELEASED[::-1]


@pytest.mark.parametrize("answers", [{}, {"debug_port": 6000, "package_name": "other"}])
def test_updated_project_equals_a_fresh_one(
    releases: Path, tmp_path: Path, answers: dict[str, object]
) -> None:
    updated = start(releases, tmp_path / "a" / "my-app", **answers)
    update(updated)
    fresh = render(releases, tmp_path / "b" / "my-app", **answers)
    commit(fresh)
    assert contents(updated) == contents(fresh)
    assert "PORT_TIMEOUT = 20" in (updated / "docker/debug/debug_session.py").read_text()


def test_edits_survive(releases: Path, tmp_path: Path) -> None:
    project = start(releases, tmp_path / "my-app")
    edits = [
        ("pyproject.toml", '  "tqdm>=4.67,<5",\n', '  "tqdm>=4.67,<5",\n  "rich>=14",\n'),
        ("Dockerfile", " src src\n", " src src\nRUN python -m compileall src\n"),
        ("docker-compose.yml", "volumes:\n  checkpoints:\n", "volumes:\n  checkpoints:\n  data:\n"),
        ("docker-compose.debug.yml", "/app/src:ro\n", "/app/src:ro\n      - ./data:/data:ro\n"),
        (".vscode/launch.json", '"version": "0.2.0",', '"version": "0.2.0",\n  "compounds": [],'),
        ("README.md", "A small training job", "Our training job"),
        ("src/my_app/train.py", "np.tanh", "np.sin"),
        ("scripts/train.sh", "EPOCHS:-30", "EPOCHS:-3"),
    ]
    for name, old, new in edits:
        replace(project / name, old, new)
    (project / "src/my_app/mine.py").write_text("mine = 1\n")
    (project / "tests/test_train.py").unlink()
    commit(project)

    update(project)

    for name, _, new in edits:
        assert new in (project / name).read_text(), name
    for name in contents(project):
        if (project / name).exists():
            assert "<<<<<<<" not in (project / name).read_text(), name
    assert (project / "src/my_app/mine.py").read_text() == "mine = 1\n"
    assert not (project / "tests/test_train.py").exists()
    assert "BATCH_SIZE = 200" in (project / "src/my_app/train.py").read_text()
    assert "interval: 20s" in (project / "docker-compose.debug.yml").read_text()
    assert '"Ask train to listen, and join"' in (project / ".vscode/launch.json").read_text()


def test_an_edit_of_the_same_line_is_a_conflict_and_not_a_loss(
    releases: Path, tmp_path: Path
) -> None:
    project = start(releases, tmp_path / "my-app")
    replace(project / "src/my_app/train.py", "BATCH_SIZE = 100", "BATCH_SIZE = 7")
    commit(project)
    update(project)
    text = (project / "src/my_app/train.py").read_text()
    assert "<<<<<<<" in text
    assert "BATCH_SIZE = 7" in text and "BATCH_SIZE = 200" in text


def test_an_answer_can_be_changed(releases: Path, tmp_path: Path) -> None:
    project = start(releases, tmp_path / "my-app")
    # The command of the project's own README: the answer is another, the template is not.
    update(project, "--vcs-ref=:current:", "--data", "debug_port=5700")
    assert '"port": 5700' in (project / ".vscode/launch.json").read_text()
    assert "127.0.0.1:5700:" in (project / "docker-compose.debug.yml").read_text()
    assert "PORT_TIMEOUT = 10" in (project / "docker/debug/debug_session.py").read_text()


def test_a_clone_in_another_folder_keeps_its_name(releases: Path, tmp_path: Path) -> None:
    start(releases, tmp_path / "my-app")
    git(tmp_path, "clone", "--quiet", "my-app", "somewhere else")
    update(tmp_path / "somewhere else")
    assert (tmp_path / "somewhere else/src/my_app/train.py").exists()
    assert 'name: "my-app"' in (tmp_path / "somewhere else/docker-compose.yml").read_text()
