"""Existing projects are adopted: none of their files changes, and every Python stops."""

from __future__ import annotations

import json
import threading
import uuid
from pathlib import Path

import pytest
from support.adopted import DEBUG_LAYER
from support.existing import NAMES, ExistingProject, startable
from support.ports import listening_here
from support.programs import tool
from support.project import Project, marked, remora, remove_images, wait_until
from support.rendering import answers, contents, render
from support.validators import assert_tidy, strict_json

# The kinds of real Compose projects that adoption might treat differently
KINDS = """
    all-behind-profiles alpine anchors bind-mount-whole build-and-image build-arguments
    build-mapping build-string compose-in-subfolder conda-layout configs console-script
    container-name contexts-in-subfolders copied-elsewhere copy-only cuda direct-python
    dockerfile-in-other-folder entrypoint-in-compose entrypoint-reset env-file env-file-missing
    exec-chain existing-debug-file existing-docker-folder existing-vscode extends
    extension-fields gitignored-env healthcheck idle-shell image-of-sibling
    image-python-with-mount include inherited-command init-true installed-package interpolation
    interpreter-entrypoint list-command long-form-ports long-form-volumes mount-hides-image
    multi-document multiprocessing-main named-volumes network-host network-of-another networks
    no-pip non-python-built-service non-python-image-service non-root one-shot-dependency
    override-file own-debugpy own-debugpy-port own-sitecustomize partial-mount poll-loop
    pre-steps prefork profiles python-3.11 python-3.14 python-3.8 python-3.9 python-m
    pythonpath-set read-only-root reloader required-variable restart-always
    root-as-working-directory same-layout-twice secrets several-pythons
    several-services-one-dockerfile sh-c shell-form-cmd shell-script string-command subprocesses
    supervisord symlinked-script tabs templates unrelated-mount user-number-in-compose
    user-root-in-compose uv-venv version-2-file version-key watch working-dir yaml-tags
""".split()


def test_the_projects_hold_every_kind() -> None:
    held = {kind for name in NAMES for kind in ExistingProject(name).holds}
    assert sorted(held) == sorted(KINDS)


@pytest.mark.parametrize("name", NAMES)
def test_adoption_adds_the_debug_layer_and_changes_nothing(
    template: Path, tmp_path: Path, name: str
) -> None:
    existing = ExistingProject(name)
    root = existing.write(tmp_path / "app")
    before = contents(root)
    render(template, root, **existing.answers)
    after = contents(root)
    found = answers(root)
    assert after.items() >= before.items()
    added = after.keys() - before.keys()
    assert added == set(map(Path, DEBUG_LAYER | {found["debug_file"]})) - before.keys()
    for path in added:
        assert_tidy(root / path)
        if path.suffix == ".json":
            strict_json(root / path)
    assert found["mode"] == "adopt"
    assert found["debug_services"] == existing.debug_services()


def test_dockerfile_of_the_debug_images_is_clean(template: Path, tmp_path: Path) -> None:
    root = render(template, ExistingProject("web-and-worker-redis").write(tmp_path))
    # `app` comes from outside, so it has no version to pin, and the last stage keeps its user. The
    # pipe in its shell command may find nothing.
    ignored = ["--ignore=DL3006", "--ignore=DL3002", "--ignore=DL4006"]
    tool("hadolint", *ignored, root / "docker/debug/debug.Dockerfile")


# ---- In containers ----


# The keys of the owner's build that say what the image contains, or where it goes.
NOT_PASSED_ON = [
    "context",
    *["dockerfile", "dockerfile_inline", "target", "tags", "cache_from", "cache_to"],
]


@pytest.mark.docker
@pytest.mark.parametrize("name", NAMES)
def test_both_forms_are_the_owners_model_and_what_debugging_adds(adopt, name: str) -> None:
    project = adopt(name)
    own = project.model(project.own)
    alone = project.model(project.compose)
    assert project.model(project.on_top) == alone

    builders = {
        f"{facts['builder']}-without-debugger" for facts in project.facts if "builder" in facts
    }
    assert all(alone["services"].pop(builder)["scale"] == 0 for builder in builders)
    service, _ = alone["services"].pop("remora"), alone["volumes"].pop("remora-dumps")
    assert (service["network_mode"], len(service["ports"])) == ("bridge", 1)
    own.setdefault("volumes", {})
    alone.setdefault("volumes", {})
    for number, service in enumerate(answers(project.root)["debug_services"]):
        before, after = own["services"][service["name"]], alone["services"][service["name"]]
        # The image and its build, with the arguments of the owner's build
        build = after.pop("build")
        assert build.pop("context") == str(project.root)
        for key, value in before.get("build", {}).items():
            assert build.get(key) == value or key in {*NOT_PASSED_ON, "additional_contexts"}, key
        assert not build.keys() & {*NOT_PASSED_ON} - {"dockerfile"}
        for key in ("build", "image", "pull_policy"):
            before.pop(key, None)
        assert after.pop("image").endswith(":debug")
        assert after.pop("pull_policy") == "build"
        # The debugger
        settings = {k for k in after["environment"] if k.startswith("REMORA_")}
        assert settings >= {
            "REMORA_MODE",
            "REMORA_PORT",
            "REMORA_TARGET",
            "REMORA_RANK",
            "REMORA_ADDRESS",
        }
        for key in settings:
            del after["environment"][key]
        before.setdefault("environment", {})
        port = answers(project.root)["debug_port"] + number
        if before.get("network_mode") != "host":
            inside = project.facts[number].get("port", 5678)
            published = {"host_ip": "127.0.0.1", "mode": "ingress", "protocol": "tcp"}
            owner = alone["services"].get(project.facts[number].get("network_of"), after)
            owner["ports"].remove({**published, "target": inside, "published": str(port)})
        before.setdefault("ports", [])
        after.setdefault("ports", [])
        before.setdefault("init", True)
        assert "remora ready --health" in " ".join(after.pop("healthcheck")["test"])
        before.pop("healthcheck", None)
        dumps = [v for v in after["volumes"] if v.get("source") == "remora-dumps"]
        assert [volume["target"] for volume in dumps] == ["/var/lib/remora/dumps"]
        after["volumes"].remove(*dumps)
        before.setdefault("volumes", [])
        for venv in project.facts[number].get("venvs", []):
            for volumes in (before["volumes"], after["volumes"]):
                volumes[:] = [volume for volume in volumes if volume["target"] != venv]
            del alone["volumes"][f"{service['name']}-debug-venv"]
        for builder in builders & after.get("depends_on", {}).keys():
            del after["depends_on"][builder]
        before.setdefault("depends_on", {})
        after.setdefault("depends_on", {})
    # Extension fields have no effect, and `include` drops the owner's.
    del alone["x-remora"]
    own = {key: value for key, value in own.items() if not key.startswith("x-")}
    assert alone == own


@pytest.mark.docker
@pytest.mark.parametrize("name", startable())
def test_every_python_stops_and_runs_as_before_when_off(adopt, name: str) -> None:
    project = adopt(name)
    try:
        before = project.outcome(project.own)
        project.own("down", "--volumes", "--timeout", "0")
        assert project.outcome(project.compose, REMORA_MODE="off") == before
        project.down()
        for service in project.debugged():
            project.stops_at_its_line(service, before[service])
    finally:
        project.down()
        project.own("--profile", "*", "down", "--volumes", "--timeout", "0")


# ---- What else a debug container does with a foreign entry point ----


@pytest.mark.docker
def test_bad_setting_ends_the_container(started) -> None:
    project = started("cli-pyproject-exit-code")
    done = project.compose("up", "--build", "--detach", "--wait", REMORA_MODE="no", check=False)
    assert done.returncode != 0
    assert project.exit_code() == 78
    assert "REMORA_MODE must be wait, listen, demand, crash, dump or off, not 'no'" in project.log()


@pytest.mark.docker
def test_running_process_is_asked_to_listen(started) -> None:
    project = started("fastapi-watch")
    project.compose("up", "--build", "--detach", "--wait", project.service, REMORA_MODE="demand")
    project.task(f"{project.service}: attach")
    source = project.root / project.existing.services[project.service]["stop"]
    editor = project.attach(marked(source), source=source)
    request = threading.Thread(target=project.trigger, args=[project.service])
    request.start()
    stop = editor.stopped()
    assert (stop.path, stop.line) == (source, marked(source))
    editor.resume(stop)
    request.join()


@pytest.mark.docker
def test_crash_is_kept_on_an_old_python(started) -> None:
    project = started("python-39-report")
    with project.raising() as source:
        project.compose("up", "--build", "--detach", REMORA_MODE="crash")
        wait_until(lambda: "Waiting for client to attach" in project.log())
        editor = project.attach(source=source)
        stop = editor.stopped()
        assert (stop.reason, stop.path, stop.line) == ("exception", source, marked(source))
        assert stop.locals["answer"] == "42"
        editor.resume(stop)
        assert project.exit_code() == 1


@pytest.mark.docker
def test_volume_over_the_environment_does_not_hide_the_debugger(started) -> None:
    project = started("venv-in-app-without-pip")
    # An anonymous volume stays with a service when its container is recreated.
    project.own("up", "--build", "--detach")
    volumes = '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}}{{end}}{{end}}'
    inspect = ["docker", "inspect", "--format", volumes, project.container()]
    volume = project.run(*inspect).stdout.strip()
    try:
        project.stops_at_its_line(project.service, project.trigger(project.service))
    finally:
        project.down()
        project.run("docker", "volume", "rm", volume)


@pytest.mark.docker
def test_own_health_check_holds_when_off(started) -> None:
    project = started("gunicorn-prefork")
    (facts,) = project.facts
    assert facts["health_command"]
    project.compose("up", "--build", "--detach", "--wait", REMORA_MODE="off")
    assert project.health_checks()[-1]["ExitCode"] == 0
    # The check fails if the service does not answer as expected.
    failing = {"services": {project.service: {"command": ["sleep", "1000"]}}}
    (project.root / "failing.yml").write_text(json.dumps(failing))
    project.more_files[:] = ["failing.yml"]
    project.compose("up", "--detach", REMORA_MODE="off")
    wait_until(lambda: len(project.health_checks()) > 0)
    assert all(check["ExitCode"] != 0 for check in project.health_checks())
    project.more_files.clear()


@pytest.mark.docker
def test_port_on_the_network_of_the_machine_is_on_loopback_only(started) -> None:
    project = started("host-network")
    project.compose("up", "--build", "--detach", "--wait")
    port = project.configuration("exporter: attach")["connect"]["port"]
    assert [host for host, open_port in listening_here() if open_port == port] == ["127.0.0.1"]


@pytest.mark.docker
def test_debugpy_is_fetched_where_there_is_no_pip(started) -> None:
    project = started("python-without-pip")
    project.own("build")
    image = project.model(project.own)["name"] + "-audit"
    layer = f"{project.root / 'docker/debug'}:/tmp/debug:ro"
    # Do not use the cache of wheels that builds share.
    script = (
        "! python3 -m pip --version && python3 /tmp/debug/install.py /debug-layer"
        " && ls /debug-layer/opt/remora/python3.13/debugpy/__init__.pyc"
    )
    run = ["docker", "run", "--rm", "--user", "root", "--volume", layer, "--entrypoint", ""]
    project.run(*run, image, "sh", "-c", script)


@pytest.fixture
def little(engine, template, free_port, tmp_path):
    """Adopt a project with one service, given its name and Dockerfile. Remove it in the end."""
    projects = []

    def little(service: str, dockerfile: str, **files: str) -> Project:
        root = tmp_path / f"remora-test-{uuid.uuid4().hex[:8]}"
        root.mkdir()
        compose = f"services: {{{service}: {{build: .}}}}"
        for name, text in {"compose.yaml": compose, "Dockerfile": dockerfile, **files}.items():
            (root / name).write_text(text)
        render(template, root, debug_port=free_port, debug_services=[{"name": service}])
        projects.append(Project(root, service))
        return projects[-1]

    yield little
    for project in projects:
        project.down()
        remove_images(project, project.root.name)


@pytest.mark.docker
def test_image_without_a_shell_is_not_built(little) -> None:
    users = {"passwd": "root:x:0:0:root:/:/sbin/nologin\n", "group": "root:x:0:\n"}
    project = little("web", "FROM scratch\nCOPY passwd group /etc/\n", **users)
    done = project.compose("build", check=False)
    assert '"/bin/sh": stat /bin/sh: no such file or directory' in done.stdout


@pytest.mark.docker
def test_service_with_a_new_name_is_named_by_compose(little) -> None:
    project = little("web", "FROM scratch\n")
    compose = project.root / "compose.yaml"
    text = compose.read_text()
    compose.write_text(text.replace("web", "api"))
    done = project.compose("config", "--quiet", check=False)
    assert 'cannot extend service "web-without-debugger"' in done.stdout
    compose.write_text(text)


@pytest.mark.docker
def test_image_without_python_runs_on(little) -> None:
    project = little("cache", "FROM redis:8-alpine\n")
    built = project.compose("build", "--progress", "plain").stdout
    assert "There is no Python in this image, so there is nothing to debug." in built
    project.compose("up", "--detach", "--wait")
    wait_until(lambda: "Ready to accept connections" in project.log())
    asked = remora(project, "ready", check=False)
    assert asked.returncode == 1
    assert "there is no Python in this image, so there is nothing to debug" in asked.stdout
