"""What `copier update` promises the owner of a project of any release, without --trust."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.existing import ExistingProject
from support.rendering import (
    LATER,
    NEXT,
    RELEASED,
    REPOSITORY,
    answers,
    commit,
    contents,
    copy_without_questions,
    git,
    render,
    replace,
    update,
)
from support.validators import strict_json


@dataclass
class Kind:
    """A kind of project: an adopted one of tests/projects, or a new one."""

    # The owner's edits: a file, a text in it, and the new text. Then files that the owner deletes.
    edits: list[tuple[str, str, str]]
    deleted: list[str]
    existing: str = ""
    answers: dict[str, object] = field(default_factory=dict)

    def render(self, template: Path, folder: Path, version: str, **more: object) -> Path:
        """Render the project from a release of the template."""
        if self.existing:
            ExistingProject(self.existing).write(folder)
        return render(template, folder, version, **{**self.answers, **more})

    def edit(self, folder: Path) -> None:
        """Apply the owner's edits."""
        for name, old, new in self.edits:
            replace(folder / name, old, new)
        for name in self.deleted:
            (folder / name).unlink()
        (folder / "mine.py").write_text("mine = 1\n")


OWN_CONFIGURATION = ('"configurations": [\n', '"configurations": [\n    { "name": "mine" },\n')
OWN_TASK = ('"tasks": [\n', '"tasks": [\n    { "label": "mine" },\n')
EDITS = [
    ("pyproject.toml", '  "tqdm>=4.67,<5",\n', '  "tqdm>=4.67,<5",\n  "rich>=14",\n'),
    ("Dockerfile", " src src\n", " src src\nRUN python -m compileall src\n"),
    (
        "docker-compose.yml",
        "\nvolumes:\n  checkpoints:\n",
        "\n  mine:\n    image: redis:8-alpine\n\nvolumes:\n  checkpoints:\n  data:\n",
    ),
    ("docker-compose.debug.yml", "/app/src:ro\n", "/app/src:ro\n      - ./data:/data:ro\n"),
    ("docker-compose.debug.yml", "# Only when asked for:", "# Started when asked for:"),
    (
        "docker-compose.debug.yml",
        "\n# `extends` copies",
        "\n  mine:\n    extends: { file: docker-compose.yml, service: mine }\n\n# `extends` copies",
    ),
    (".vscode/launch.json", '"version": "0.2.0",', '"version": "0.2.0",\n  "inputs": [],'),
    (".vscode/launch.json", *OWN_CONFIGURATION),
    (".vscode/tasks.json", *OWN_TASK),
    (".gitignore", ".env\n", ".env\ndata/\n"),
    ("README.md", "A small training job", "Our training job"),
    ("src/my_app/train.py", "np.tanh", "np.sin"),
    ("scripts/train.sh", "EPOCHS:-30", "EPOCHS:-3"),
]
KINDS = {
    "defaults": Kind(EDITS, deleted=["tests/test_train.py"]),
    "all": Kind(
        EDITS,
        deleted=["src/my_app/settings.py", ".vscode/extensions.json"],
        answers={"services": ["train", "api", "worker"], "api_framework": "django"},
    ),
    "adopted": Kind(
        [
            # One service has a new name, and another service is new.
            ("compose.yaml", "  worker:\n", "  beat:\n    <<: *common\n  deliverer:\n"),
            ("Dockerfile", "COPY mailer mailer\n", "COPY mailer mailer\nUSER 10001\n"),
            (
                "docker-compose.debug.yml",
                "    pull_policy: build\n    depends_on:\n      api-",
                "    pull_policy: build\n    # mine\n    depends_on:\n      api-",
            ),
            (".vscode/launch.json", *OWN_CONFIGURATION),
            (".vscode/tasks.json", *OWN_TASK),
        ],
        deleted=[".vscode/extensions.json"],
        existing="web-and-worker-redis",
    ),
    "adopted, with editor files of its own": Kind(
        [
            ("docker-compose.yml", "python -u", "python -X dev -u"),
            (".vscode/launch.json", "// kept short on purpose", "// not that short any more"),
            (
                "docker-compose.debugpy.yml",
                "    pull_policy: build\n",
                "    pull_policy: build\n    # mine\n",
            ),
        ],
        deleted=["docker/debug/start.sh"],
        existing="own-editor-files",
    ),
}
NEW = KINDS["defaults"]

# Modules of the debug layer of 0.1.0, which the package `remora` has replaced.
REPLACED = ["debug_hook.py", "debug_session.py", "debug_attach.py"]


def start(template: Path, folder: Path, version: str = NEXT, kind: Kind = NEW) -> Path:
    """A project of a release, as its owner has committed it."""
    kind.render(template, folder, version)
    commit(folder)
    return folder


def conflicts(folder: Path) -> set[str]:
    """The files of a project with unresolved conflicts."""
    return set(git(folder, "diff", "--name-only", "--diff-filter=U").splitlines())


# ---- An update brings what is new, and keeps the owner's edits ----


def test_every_release_is_kept_for_these_tests() -> None:
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    noted = re.findall(r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", changelog, re.MULTILINE)
    assert noted == RELEASED[::-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", RELEASED)
def test_edited_project_becomes_a_fresh_one_with_the_edits(
    later: Path, tmp_path: Path, version: str, kind: str
) -> None:
    project = start(later, tmp_path / "a" / "my-app", version, KINDS[kind])
    KINDS[kind].edit(project)
    commit(project)
    before = contents(project)

    message = update(project).stderr

    assert "Your edits are kept" in message
    assert "is up to date" in message
    given = {key: answer for key, answer in answers(project).items() if key[0] != "_"}
    fresh = KINDS[kind].render(later, tmp_path / "b" / "my-app", LATER, **given)
    KINDS[kind].edit(fresh)
    # No file is deleted, even if the template no longer has it. Only the debug layer is replaced
    # completely.
    replaced = {Path("docker/debug") / name for name in REPLACED}
    kept = {path: content for path, content in before.items() if path not in replaced}
    assert contents(project) == {**kept, **contents(fresh)}
    assert not conflicts(project)


@pytest.mark.parametrize("version", RELEASED)
def test_mappings_that_were_answered_are_kept(later: Path, tmp_path: Path, version: str) -> None:
    """An earlier release required them. Now the debugger finds most files without them."""
    mapping = {"local_root": "services/rates", "remote_root": "/rates"}
    services = [{"name": "rates", "path_mappings": [mapping]}]
    ExistingProject("monorepo-contexts").write(tmp_path / "my-app")
    project = render(later, tmp_path / "my-app", version, debug_services=services)
    commit(project)
    update(project)
    assert answers(project)["debug_services"] == services
    launch = strict_json(project / ".vscode/launch.json")["configurations"]
    expected = [{"localRoot": "${workspaceFolder}/services/rates", "remoteRoot": "/rates"}]
    assert launch and all(found["pathMappings"] == expected for found in launch)


@pytest.mark.parametrize("version", RELEASED)
def test_python_that_is_no_longer_offered_is_kept(
    later: Path, tmp_path: Path, version: str
) -> None:
    project = start(
        later, tmp_path / "my-app", version, Kind([], [], "", {"python_version": "3.10"})
    )
    update(project)
    assert answers(project)["python_version"] == "3.10"
    assert (project / "Dockerfile").read_text().startswith("FROM python:3.10-slim AS base\n")
    assert not conflicts(project)
    commit(project)
    refusal = update(project, "--vcs-ref=:current:", "--data=python_version=2.7", check=False)
    assert "must be one of 3.15, 3.14, 3.13, 3.12, 3.11, 3.10, not 2.7" in refusal.stderr


@pytest.mark.parametrize("kind", ["defaults", "adopted"])
def test_only_a_project_of_the_first_release_keeps_the_names_of_its_settings(
    later: Path, tmp_path: Path, kind: str
) -> None:
    def has_old_names(project: Path) -> bool:
        (file,) = project.glob("docker-compose.debug.yml")
        return "DEBUGPY_" in file.read_text()

    first = start(later, tmp_path / "first/my-app", "0.1.0", KINDS[kind])
    for version in (NEXT, LATER):
        update(first, f"--vcs-ref={version}")
        commit(first)
        assert has_old_names(first) and answers(first)["old_names"] is True
    update(first, "--vcs-ref=:current:", "--data=old_names=false")
    assert not has_old_names(first) and answers(first)["old_names"] is False

    newest = start(later, tmp_path / "newest/my-app", NEXT, KINDS[kind])
    assert not has_old_names(newest)
    update(newest)
    assert not has_old_names(newest) and "old_names" not in answers(newest)


def test_recorded_answer_without_effect_does_not_end_an_update(later: Path, tmp_path: Path) -> None:
    project = render(later, tmp_path / "my-app", NEXT)
    with (project / ".copier-answers.yml").open("a") as file:
        file.write("api_framework: flask\nranks: 2\n")
    commit(project)
    update(project)
    assert not {"api_framework", "ranks"} & answers(project).keys()


def test_untouched_project_becomes_a_fresh_one(later: Path, tmp_path: Path) -> None:
    given = {"debug_port": 6000, "package_name": "other"}
    updated = render(later, tmp_path / "a" / "my-app", NEXT, **given)
    commit(updated)
    before = contents(updated)
    update(updated)
    fresh = render(later, tmp_path / "b" / "my-app", LATER, **given)
    assert contents(updated) == {**before, **contents(fresh)}
    assert "CHILD_TIMEOUT = 9" in (updated / "docker/debug/remora/hub/hub.py").read_text()


def test_lines_that_both_sides_changed_are_a_conflict(later: Path, tmp_path: Path) -> None:
    project = start(later, tmp_path / "my-app")
    replace(project / "src/my_app/train.py", "BATCH_SIZE = 100", "BATCH_SIZE = 7")
    replace(project / "Dockerfile", "# breakpoint() in", "# Any breakpoint() in")
    replace(project / ".gitignore", "checkpoints/\n", "checkpoints/\ndata/\n")
    (project / "tests/conftest.py").write_text('"""My fixtures."""\n')
    commit(project)
    update(project)
    both = {
        "src/my_app/train.py": ("BATCH_SIZE = 7", "BATCH_SIZE = 200"),  # the same line
        "Dockerfile": ("# Any breakpoint() in", "PYTHONUNBUFFERED=2"),  # the line below
        ".gitignore": ("data/", "logs/"),  # the end of the same list
        "tests/conftest.py": ("My fixtures", "What the tests share"),  # a new file of that name
    }
    assert conflicts(project) == both.keys()
    for name, (mine, theirs) in both.items():
        text = (project / name).read_text()
        assert "<<<<<<<" in text and mine in text and theirs in text, name


def test_file_that_the_template_no_longer_has_is_kept(later: Path, tmp_path: Path) -> None:
    project = start(later, tmp_path / "my-app")
    edits = [
        (".env.example", "EPOCHS=30", "EPOCHS=3"),
        (".github/workflows/ci.yml", ": 30", ": 60"),
    ]
    for edit in edits:
        replace(project / edit[0], *edit[1:])
    commit(project)
    update(project)
    for name, _, new in edits:
        assert new in (project / name).read_text()
    assert (project / ".github/workflows/tests.yml").exists()


@pytest.mark.parametrize("way", ["git add --force", "copier update --skip .vscode"])
def test_editor_files_that_git_ignores_are_kept_in_the_ways_that_the_message_names(
    later: Path, tmp_path: Path, way: str
) -> None:
    project = start(later, tmp_path / "my-app")
    git(project, "rm", "--quiet", "-r", "--cached", ".vscode")
    replace(project / ".gitignore", ".env\n", ".env\n.vscode/\n")
    replace(project / ".vscode/launch.json", *OWN_CONFIGURATION)
    # Copier handles skipped files in another way if a file is deleted.
    (project / "README.md").unlink()
    before = contents(project / ".vscode")
    commit(project)
    program, *command = way.split()
    if program == "git":
        git(project, *command, ".vscode")
        git(project, "commit", "--quiet", "--message", "test")
        message = update(project).stderr
        text = (project / ".vscode/launch.json").read_text()
        assert OWN_CONFIGURATION[1] in text and "train: join" in text
        assert contents(project / ".vscode").keys() == before.keys()
    else:
        message = update(project, *command[1:]).stderr
        assert contents(project / ".vscode") == before
    assert f"`{way}`" in message


# ---- Answers can change. Answers that would delete an owner's work are refused ----


def test_an_answer_can_be_changed(later: Path, tmp_path: Path) -> None:
    project = start(later, tmp_path / "my-app")
    # The command in the project's README: it changes an answer, with the same template.
    update(project, "--vcs-ref=:current:", "--data", "debug_port=5700")
    assert '"port": 5700' in (project / ".vscode/launch.json").read_text()
    assert "127.0.0.1:5700:" in (project / "docker-compose.debug.yml").read_text()
    assert "CHILD_TIMEOUT = 5" in (project / "docker/debug/remora/hub/hub.py").read_text()


def drop(project: Path, *answer: str) -> None:
    """Give an answer that is refused while some files exist. Then do what the refusal says."""
    before = contents(project)
    refused = " ".join(update(project, *answer, check=False).stderr.split())
    assert contents(project) == before
    removal = re.search(r"run `(git rm .*?)`", refused)[1]
    git(project, *removal.split()[1:])
    git(project, "commit", "--quiet", "--message", "test")


def test_editors_can_be_added_and_dropped(later: Path, tmp_path: Path) -> None:
    project = start(later, tmp_path / "my-app", RELEASED[0])
    replace(project / ".vscode/launch.json", *OWN_CONFIGURATION)
    commit(project)
    update(project)
    # The old release had no such question: the files of VS Code stay.
    assert answers(project)["editors"] == ["vscode"]
    assert not (project / ".zed").exists()
    commit(project)
    answer = ("--vcs-ref=:current:", "--data", "editors=[zed]")
    drop(project, *answer)
    assert not (project / ".vscode").exists()
    update(project, *answer)
    assert strict_json(project / ".zed/debug.json")
    commit(project)
    update(project, "--vcs-ref=:current:", "--data", "editors=[zed, vscode]")
    assert strict_json(project / ".vscode/launch.json")


def test_a_cluster_can_be_added_and_dropped(later: Path, tmp_path: Path) -> None:
    project = start(later, tmp_path / "my-app")
    assert answers(project)["engines"] == ["compose"] and not (project / "deploy").exists()
    update(project, "--vcs-ref=:current:", "--data", "engines=[compose, kubernetes]")
    replace(project / "deploy/base/train.yaml", "storage: 10Gi", "storage: 1Ti")
    commit(project)
    answer = ("--vcs-ref=:current:", "--data", "engines=[compose]")
    drop(project, *answer)
    assert not (project / "deploy").exists()
    update(project, *answer)
    assert not (project / "deploy").exists()


def test_package_can_be_renamed_as_the_readme_says(later: Path, tmp_path: Path) -> None:
    project = start(later, tmp_path / "my-app")
    replace(project / "src/my_app/train.py", "np.tanh", "np.sin")
    commit(project)
    text = (project / "README.md").read_text()
    (commands,) = re.findall(r"```sh\n(git mv .*?)```", text, re.DOTALL)
    move, commit_move, answer = commands.splitlines()
    answer = answer.removeprefix("copier update --defaults ").split()

    # Without moving the package, its edits would be deleted.
    before = contents(project)
    refused = update(project, *answer, check=False).stderr
    assert f"`{move}`" in refused.splitlines()[-1]
    assert contents(project) == before

    git(project, *shlex.split(move)[1:])
    git(project, *shlex.split(commit_move)[1:], "--quiet")
    update(project, *answer)
    # To Git, the owner's file and the template's are two versions of a new file.
    assert conflicts(project) == {"src/other/train.py"}
    text = (project / "src/other/train.py").read_text()
    assert "np.sin" in text and "np.tanh" in text
    git(project, "checkout", "--quiet", "--ours", "src")
    for path, content in contents(project).items():
        assert b"my_app" not in content, path
    commit(project)

    update(project)
    assert not conflicts(project)
    text = (project / "src/other/train.py").read_text()
    assert "np.sin" in text and "BATCH_SIZE = 200" in text


def test_package_that_only_its_owner_has_renamed_is_kept(later: Path, tmp_path: Path) -> None:
    project = start(later, tmp_path / "my-app")
    git(project, "mv", "src/my_app", "src/other")
    for path, content in contents(project).items():
        if path.name != ".copier-answers.yml":
            (project / path).write_bytes(content.replace(b"my_app", b"other"))
    commit(project)
    before = contents(project / "src")
    update(project)
    assert contents(project / "src") == before
    assert "python -m other.train" in (project / "scripts/train.sh").read_text()
    assert not conflicts(project)


@pytest.mark.parametrize(("kind", "other"), [("defaults", "adopt"), ("adopted", "new")])
def test_one_kind_of_project_does_not_become_another(
    later: Path, tmp_path: Path, kind: str, other: str
) -> None:
    project = start(later, tmp_path / "my-app", kind=KINDS[kind])
    before = contents(project)
    refused = update(project, f"--data=mode={other}", check=False).stderr
    assert "mode: must stay" in refused.splitlines()[-1]
    assert contents(project) == before


# ---- A project can be updated anywhere ----


def test_a_clone_in_another_folder_keeps_its_name(later: Path, tmp_path: Path) -> None:
    start(later, tmp_path / "my-app")
    git(tmp_path, "clone", "--quiet", "my-app", "somewhere else")
    update(tmp_path / "somewhere else")
    assert (tmp_path / "somewhere else/src/my_app/train.py").exists()
    assert "name: my-app\n" in (tmp_path / "somewhere else/docker-compose.yml").read_text()


def test_template_is_found_if_its_path_was_relative(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Path(os.path.relpath(template, tmp_path))
    done = copy_without_questions(source, tmp_path / "projects/my-app")
    assert done.returncode == 0, done.stderr
    commit(tmp_path / "projects/my-app")
    update(tmp_path / "projects/my-app")
