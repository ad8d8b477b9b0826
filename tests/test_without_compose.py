"""A repository with Dockerfiles and manifests for Kubernetes, and no Compose file, is adopted."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from support.fake_cluster import STARTED, FakeCluster
from support.manifests import (
    ALONE,
    MIGRATE,
    QUEUE,
    SERVICE,
    WEB,
    assert_refused,
    base,
    folder,
    overlay,
    pods,
    workload,
    write,
)
from support.project import Project
from support.rendering import (
    answers,
    commit,
    contents,
    copy_without_questions,
    render,
    replace,
    update,
)
from support.validators import assert_tidy, strict_json

PYTHON = "FROM python:3.13-slim\nCOPY . .\nCMD python main.py\n"
NODE = "FROM node:24-slim\nCOPY . .\nCMD node index.js\n"
DOTNET = "FROM x/dotnet/sdk:10 AS b\nCOPY . .\nFROM x/dotnet/runtime-deps:10\nCOPY --from=b /x .\n"
# YAML cannot read a Dockerfile with a comment below its first instruction.
UNREADABLE = "FROM python:3.13-slim\n# Everything\nCOPY . .\n"


def deployment(name: str, image: str, container: str = "main") -> dict[str, Any]:
    template = pods(container)
    template["spec"]["containers"][0]["image"] = image
    return workload("Deployment", name, template)


NO_DOCKERFILE: dict[str, str | None] = {**ALONE, "Dockerfile": None}
API = deployment("api", "ghcr.io/acme/shop-api:1.2")
FIT = deployment("trainer", "ghcr.io/acme/shop-fit@sha256:0")
SHOP = {"name": "shop", "dockerfile": "Dockerfile"}
# The files of a folder called `shop`; the services that are found, with what builds their images;
# and the workloads, with the service of each
FOUND: dict[str, tuple[dict[str, str | None], list[dict[str, str]], dict[str, str]]] = {
    "one Dockerfile, a Deployment and a Job": (
        {**ALONE, **folder("k8s", WEB, MIGRATE, SERVICE, QUEUE)},
        [SHOP],
        {"web": "shop", "migrate": "shop"},
    ),
    "a Kustomization with overlays": (
        {**ALONE, **base("k8s/base", WEB), **overlay("k8s/overlays/dev", namePrefix="dev-")},
        [SHOP],
        {"web": "shop"},
    ),
    "a Dockerfile for each folder, one of them without Python": (
        {
            **NO_DOCKERFILE,
            **{"services/api/Dockerfile": PYTHON, "services/api/main.py": ""},
            **{"jobs/fit/Dockerfile": UNREADABLE, "jobs/fit/main.py": ""},
            **{"ui/Dockerfile": NODE, "ui/package.json": "{}"},
            **{"cart/Dockerfile": DOTNET, "cart/cart.csproj": ""},
            **folder("k8s", API, FIT, deployment("ui", "ghcr.io/acme/shop-ui:1")),
        },
        [
            {"name": "fit", "dockerfile": "jobs/fit/Dockerfile"},
            {"name": "api", "dockerfile": "services/api/Dockerfile"},
        ],
        {"api": "api", "trainer": "fit"},
    ),
    "Dockerfiles in one folder, one of them for development": (
        {
            **ALONE,
            **{"Dockerfile.fit": PYTHON, "Dockerfile.dev": PYTHON, "api.Dockerfile": PYTHON},
            **{"Dockerfile.dockerignore": "*", "docs/Dockerfile": PYTHON},
            **folder("k8s", API, FIT, deployment("web", "ghcr.io/acme/shop:1")),
        },
        [
            SHOP,
            {"name": "fit", "dockerfile": "Dockerfile.fit"},
            {"name": "api", "dockerfile": "api.Dockerfile"},
        ],
        {"api": "api", "trainer": "fit", "web": "shop"},
    ),
    "a Dockerfile that copies from the folder above": (
        {
            **NO_DOCKERFILE,
            **{"requirements.txt": "", "api/Dockerfile": "FROM x\nCOPY requirements.txt api /\n"},
            **{"api/main.py": "", **folder("k8s", API)},
        },
        [{"name": "api", "dockerfile": "api/Dockerfile", "context": "."}],
        {"api": "api"},
    ),
    "a folder that holds only a Dockerfile": (
        {**NO_DOCKERFILE, "docker/Dockerfile": PYTHON, **folder("k8s", WEB)},
        [{"name": "shop", "dockerfile": "docker/Dockerfile", "context": "."}],
        {"web": "shop"},
    ),
    "the same name in two folders": (
        {
            **NO_DOCKERFILE,
            **{"a/api/Dockerfile": PYTHON, "a/api/x.py": ""},
            **{"b/api/Dockerfile": PYTHON, "b/api/x.py": ""},
            **folder("k8s", API, deployment("other", "acme/b-api")),
        },
        [
            {"name": "api", "dockerfile": "a/api/Dockerfile"},
            {"name": "b-api", "dockerfile": "b/api/Dockerfile"},
        ],
        {"api": "api", "other": "b-api"},
    ),
}


SUBPROJECT = {"Dockerfile": PYTHON, "main.py": "", ".gitignore": "x", **folder("k8s", WEB)}


@pytest.mark.parametrize("name", FOUND)
def test_images_and_workloads_are_found(template: Path, tmp_path: Path, name: str) -> None:
    files, services, workloads = FOUND[name]
    root = write(tmp_path / "shop", files)
    before = contents(root)
    render(template, root)
    assert contents(root).items() >= before.items()
    found = answers(root)
    assert (found["mode"], found["engines"], found["compose_files"]) == (
        "adopt",
        ["kubernetes"],
        [],
    )
    assert found["debug_services"] == services
    assert {each["name"]: each.get("service", each["name"]) for each in found["workloads"]} == (
        workloads
    )
    assert list(root.rglob("*compose*")) == []
    tasks = {each["label"] for each in strict_json(root / ".vscode/tasks.json")["tasks"]}
    place = "in the cluster"
    verbs = ("start", "stop", "attach", "detach")
    assert tasks == {f"{each}: {verb} {place}" for each in workloads for verb in verbs}
    assert "ompose" not in (root / "docker/debug/README.md").read_text()


@pytest.mark.parametrize("folder_of_project", ["shop", "apps/shop", "apps/eu/shop"])
def test_project_in_a_folder_of_a_repository_is_adopted(
    template: Path, tmp_path: Path, folder_of_project: str
) -> None:
    root = tmp_path / folder_of_project
    files = {f"{folder_of_project}/{path}": text for path, text in SUBPROJECT.items()}
    write(tmp_path, {**ALONE, **files})
    done = copy_without_questions(template, root)
    assert done.returncode == 0, done.stderr
    assert [each["name"] for each in answers(root)["workloads"]] == ["web"]


def blocks(root: Path) -> dict[str, dict[str, str]]:
    """The targets of a project's docker-bake.hcl, with the text of each value."""
    text = (root / "docker/debug/docker-bake.hcl").read_text()
    assert_tidy(root / "docker/debug/docker-bake.hcl")
    return {
        name: dict(re.findall(r"^  (\w+) += (.+)$", body, re.MULTILINE))
        for name, body in re.findall(r'^target "(.+?)" {\n(.+?)^}$', text, re.MULTILINE | re.DOTALL)
    }


def test_each_image_is_built_by_its_dockerfile(template: Path, tmp_path: Path) -> None:
    files = FOUND["a folder that holds only a Dockerfile"][0]
    given = "[{name: shop, dockerfile: docker/Dockerfile, context: .}, {name: a, image: 'x/a:1'}]"
    root = render(template, write(tmp_path / "shop", files), debug_services=given)
    found = blocks(root)
    assert found.keys() == {"shop-without-debugger", "shop", "a"}
    own = {"context": '"."', "dockerfile": '"docker/Dockerfile"'}
    assert found["shop-without-debugger"] == own
    debug = {"context": '"."', "dockerfile": '"docker/debug/debug.Dockerfile"'}
    assert found["shop"] == {
        **debug,
        # What the owner adds to the image, such as args, the debug image is built with too.
        "inherits": '["shop-without-debugger"]',
        "target": '""',
        "contexts": '{ app = "target:shop-without-debugger" }',
        "tags": '["shop:debug"]',
    }
    assert found["a"] == {
        **debug,
        "contexts": '{ app = "docker-image://x/a:1" }',
        "tags": '["shop-a:debug"]',
    }


OWN = """
FROM python:3.13-slim AS base
ARG WHO=nobody
# A folder of this folder
COPY requirements.txt api /srv/
RUN echo $WHO >/srv/who
FROM base AS broken
RUN false
"""


@pytest.mark.docker
def test_owner_adds_to_a_build(engine: None, template: Path, tmp_path: Path) -> None:
    """An argument and a target, which docker-bake.hcl has a place for."""
    name = f"remora-test-{uuid.uuid4().hex[:8]}"
    files = {**NO_DOCKERFILE, "api/Dockerfile": OWN, "api/main.py": "", "requirements.txt": ""}
    services = "[{name: api, dockerfile: api/Dockerfile, context: .}, {name: old, image: %s}]"
    root = write(tmp_path / name, {**files, **folder("k8s", API)})
    render(template, root, debug_services=services % f"{name}-api:debug")
    bake = root / "docker/debug/docker-bake.hcl"
    own = '  dockerfile = "api/Dockerfile"\n'
    replace(bake, own, f'{own}  target     = "base"\n  args       = {{ WHO = "me" }}\n')
    project = Project(root)
    images = [f"{name}-api:debug", f"{name}-old:debug"]
    try:
        # The image that `old` names has to be there.
        for service in ("api", "old"):
            command = f"docker buildx bake --file=docker/debug/docker-bake.hcl --load {service}"
            project.run(*command.split())
        for image in images:
            words = ("sh", "-c", "cat /srv/who; remora status || :")
            said = project.run("docker", "run", "--rm", image, *words).stdout
            assert said.startswith("me\nmode off, "), said
    finally:
        project.run("docker", "image", "rm", "--force", *images)


def test_dockerfile_is_relative_to_its_context(template: Path, tmp_path: Path) -> None:
    files = FOUND["a Dockerfile for each folder, one of them without Python"][0]
    found = blocks(render(template, write(tmp_path / "shop", files)))
    own = {"context": '"jobs/fit"', "dockerfile": '"Dockerfile"'}
    assert found["fit-without-debugger"] == own


def test_each_workload_has_a_port_of_its_own(template: Path, tmp_path: Path) -> None:
    """Workloads that run the same image can be debugged at the same time."""
    root = write(tmp_path / "shop", {**ALONE, **folder("k8s", WEB, MIGRATE)})
    render(template, root, editors=["vscode", "zed"], debug_port=6000)
    assert len((root / "docker/debug/README.md").read_text().splitlines()) < 60
    ports = {"migrate": 6000, "web": 6001}
    launch = strict_json(root / ".vscode/launch.json")["configurations"]
    zed = strict_json(root / ".zed/debug.json")
    for name, port in ports.items():
        for verb in ("debug", "attach"):
            label = f"{name}: {verb} in the cluster"
            (one,) = (each for each in launch if each["name"] == label)
            (other,) = (each for each in zed if each["label"] == label)
            assert one["connect"]["port"] == other["connect"]["port"] == port
        settings = root / f"deploy/debug/workloads/{name}/settings.yaml"
        assert f"{name} at 127.0.0.1:{port} " in settings.read_text()
    cluster = FakeCluster(tmp_path / "cluster", root)
    cluster.be(pods=STARTED.replace("train", "web"))
    assert "web can be debugged at 127.0.0.1:6001." in cluster.said("up", "web")
    cluster.said("down", "web")


# ---- Answers ----


def test_message_after_the_copy_says_how_to_start(template: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "shop", {**ALONE, **folder("k8s", WEB, MIGRATE)})
    said = re.sub(r"\s+", " ", copy_without_questions(template, root).stderr)
    assert "Added debugging to " in said and "/shop, for migrate, web. To start, see" in said
    assert "ompose" not in said.split("Added debugging to ")[1]


GIVEN: dict[str, tuple[dict[str, str | None], list[str]]] = {
    "an image that no Dockerfile builds": (
        {**NO_DOCKERFILE, **folder("k8s", API)},
        ["debug_services=[{name: site, image: 'ghcr.io/acme/shop-api:1.2'}]"],
    ),
    "a Dockerfile with another name": (
        {**NO_DOCKERFILE, "build/web.txt": PYTHON, **folder("k8s", API)},
        ["debug_services=[{name: site, dockerfile: build/web.txt, context: .}]"],
    ),
    "manifests in a folder of examples": (
        {**ALONE, **base("docs/install", API)},
        ["manifests=[docs/install/kustomization.yaml]"],
    ),
    "a Compose file that is left out": (
        {"compose.yaml": "services: {db: {image: redis}}", **folder("k8s", API)},
        ["compose_files=[]"],
    ),
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_named_is_adopted(template: Path, tmp_path: Path, name: str) -> None:
    files, data = GIVEN[name]
    root = write(tmp_path / "shop", files)
    done = copy_without_questions(template, root, *(f"--data={each}" for each in data))
    assert done.returncode == 0, done.stderr
    found = answers(root)
    assert found["engines"] == ["kubernetes"] and "debug_file" not in found
    (api,) = found["workloads"]
    (service,) = found["debug_services"]
    assert (api["name"], api["service"]) == ("api", service["name"])
    assert service["name"] in blocks(root)


REFUSED: dict[str, tuple[dict[str, str | None], list[str], str]] = {
    "no Dockerfile": (
        {**NO_DOCKERFILE, **folder("k8s", QUEUE, API)},
        [],
        "no Dockerfile was found: looked for Dockerfile, Dockerfile.* and *.Dockerfile, here and"
        " in three levels of folders. Name what builds the image, --data 'debug_services=[{name:"
        " web, dockerfile: path/to/Dockerfile}]', or the image to debug, --data"
        " 'debug_services=[{name: web, image: ghcr.io/acme/shop-api:1.2}]'",
    ),
    "no Python": (
        {**NO_DOCKERFILE, "ui/Dockerfile": NODE, "ui/index.js": "", **folder("k8s", WEB)},
        [],
        "no image built by ui/Dockerfile seems to run Python. Name what builds the",
    ),
    "a Dockerfile that is not there": (
        {**ALONE, **folder("k8s", WEB)},
        ["debug_services=[{name: web, dockerfile: docker/web}]"],
        "debug_services: docker/web is not a file in this folder: say what builds the image of"
        " web, as in --data 'debug_services=[{name: web, dockerfile: path/to/Dockerfile}]'",
    ),
    "a Dockerfile outside": (
        {**ALONE, **folder("k8s", WEB)},
        ["debug_services=[{name: web, dockerfile: ../Dockerfile}]"],
        "debug_services: dockerfile and context of web must be paths below this folder",
    ),
    "an image and a Dockerfile": (
        {**ALONE, **folder("k8s", WEB)},
        ["debug_services=[{name: web, dockerfile: Dockerfile, image: x}]"],
        "debug_services: web has an image, so it cannot have a dockerfile or a context",
    ),
    "not an image": (
        {**ALONE, **folder("k8s", WEB)},
        ["debug_services=[{name: web, image: a b}]"],
        "debug_services: image of web must be the name of an image, such as",
    ),
    "not a name for an image": (
        {**ALONE, **folder("k8s", WEB)},
        ["debug_services=[{name: Web}]"],
        "debug_services: Web must be a valid name for an image: use lowercase letters",
    ),
    "a Dockerfile in a Compose project": (
        folder("k8s", WEB),
        ["debug_services=[{name: web, dockerfile: Dockerfile}]"],
        "debug_services: must be a list of services, such as",
    ),
    "manifests that cannot be read": (
        {**ALONE, "k8s/all.yaml": "kind: Deployment\n---\nkind: Service\n"},
        [],
        "workloads: k8s/all.yaml cannot be read here, because of several documents, Helm's braces,"
        " YAML tags or tabs. Name the workloads that run Python: --data 'workloads=[{name: NAME,"
        " kind: Deployment, container: CONTAINER}]'. See the names with: grep -E"
        " '(kind|name|image): ' k8s/all.yaml",
    ),
    "a chart": (
        {**ALONE, "chart/Chart.yaml": "name: shop\n"},
        [],
        "workloads: chart is a Helm chart, whose templates are not YAML: name its workloads as",
    ),
    "images of others only": (
        {**ALONE, **folder("k8s", QUEUE)},
        [],
        "workloads: none of the workloads of k8s/queue-deployment.yaml runs an image of shop."
        " Name those that do: --data 'workloads=[{name: NAME, kind: Deployment, container:"
        " CONTAINER}]'",
    ),
    "Compose": (
        {**ALONE, **folder("k8s", WEB)},
        ["engines=[compose, kubernetes]"],
        "no Compose file was found: looked for files called *compose*.yaml or *.yml, and",
    ),
    "no engine": (
        {**ALONE, **folder("k8s", WEB)},
        ["engines=[]"],
        "engines: must contain kubernetes, because there is no Compose file",
    ),
    "a Compose project without Compose": (
        folder("k8s", WEB),
        ["engines=[kubernetes]"],
        "engines: must contain compose, because compose.yaml says how the images are built: leave"
        " that file out as well, with --data 'compose_files=[]', to build them from the",
    ),
    "a Compose file without Python": (
        {"compose.yaml": "services: {db: {image: redis}}", **folder("k8s", WEB)},
        [],
        "no service of compose.yaml seems to run Python. Name the services that run Python:"
        " --data 'debug_services=[{name: web}]'; or leave the Compose file out, to debug in a"
        " cluster only: --data 'compose_files=[]'",
    ),
    "a Dev Container": (
        {**ALONE, **folder("k8s", WEB)},
        ["editors=[vscode, devcontainer]"],
        "editors: a devcontainer needs a Compose file, and there is none here: leave it out",
    ),
    "a debug file": (
        {**ALONE, **folder("k8s", WEB)},
        ["debug_file=debug.yml"],
        "debug_file: applies only if there is a Compose file",
    ),
    "own images": (
        {**ALONE, **folder("k8s", WEB), "docker/debug/docker-bake.hcl": ""},
        [],
        "docker/debug/docker-bake.hcl exists already: rename it",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_project_that_cannot_be_adopted_is_refused_in_one_line(
    template: Path, tmp_path: Path, name: str
) -> None:
    assert_refused(template, tmp_path / "shop", *REFUSED[name])


# ---- Updates ----

REFRESH = ("--vcs-ref=:current:", "--data", "refresh=true")


def test_an_update_keeps_what_was_found_and_edits(template: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "shop", {**ALONE, **folder("k8s", WEB, MIGRATE)})
    render(template, root)
    bake = root / "docker/debug/docker-bake.hcl"
    bake.write_text(bake.read_text().replace("  inherits ", '  platforms  = ["x"]\n  inherits '))
    before = contents(root)
    commit(root)
    update(root, "--vcs-ref=:current:")
    assert contents(root) == before
    (root / "Dockerfile").rename(root / "Dockerfile.new")
    commit(root)
    said = update(root, "--vcs-ref=:current:").stderr
    assert "Not found any more: Dockerfile." in said
    assert "deploy/debug.sh up migrate" in said and "docker compose" not in said


def test_a_refresh_finds_what_is_new(template: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "shop", {**ALONE, **folder("k8s", WEB)})
    render(template, root)
    write(root, {**ALONE, "api.Dockerfile": PYTHON, **folder("k8s", API)})
    update(root, *REFRESH)
    found = answers(root)
    assert [each["name"] for each in found["debug_services"]] == ["shop", "api"]
    assert [each["name"] for each in found["workloads"]] == ["api", "web"]


def test_a_compose_file_can_be_added_later(template: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "shop", {**ALONE, **folder("k8s", WEB)})
    render(template, root)
    (root / "compose.yaml").write_text("services: {web: {build: .}}\n")
    commit(root)
    update(root, "--vcs-ref=:current:")
    assert answers(root)["engines"] == ["kubernetes"]
    update(root, *REFRESH)
    found = answers(root)
    assert found["engines"] == ["compose", "kubernetes"]
    assert found["debug_services"] == [{"name": "web"}]
    assert (root / "docker-compose.debug.yml").exists()
    assert not (root / "docker/debug/docker-bake.hcl").exists()
    launch = strict_json(root / ".vscode/launch.json")["configurations"]
    names = {each["name"] for each in launch}
    assert {"web: debug", "web: debug in the cluster"} <= names
