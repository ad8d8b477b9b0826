"""What adoption finds out about a project, and refuses to guess. These tests need no Docker."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pexpect
import pytest
from copier.errors import UserMessageError
from ruamel.yaml import YAML
from support.programs import program
from support.rendering import (
    NEXT,
    answers,
    commit,
    contents,
    copy_without_questions,
    git,
    reason,
    render,
    update,
)
from support.validators import strict_json

# A project with two services. One of them runs Python.
FILES = {
    "compose.yaml": "services:\n  web:\n    build: .\n  db:\n    image: redis:8-alpine\n",
    "Dockerfile": "FROM python:3.13-slim\nWORKDIR /srv\nCOPY . .\n",
    "main.py": "print(1)\n",
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def documents(root: Path, name: str = "docker-compose.debug.yml") -> list[dict]:
    """The YAML documents of a debug file, without the tags that are Compose's own."""
    text = re.sub(r"!(reset|override)", "", (root / name).read_text())
    return list(YAML(typ="safe").load_all(text))


# ---- What is found ----

# A Compose file, and the services that adoption finds in it.
FOUND = {
    "the folder that is built, and the container's working directory": (
        "services: {web: {build: .}}",
        ["web"],
    ),
    "a folder below": ("services: {web: {build: ./api/}}", ["web"]),
    "mounts that hold no Python": (
        "services: {web: {build: ., volumes:"
        " ['./static:/static', '/etc/x:/x', '~/.ssh:/s', '../up:/u']}}",
        ["web"],
    ),
    "variables": (
        "services: {web: {build: '${DIR:-.}', volumes:"
        " ['${PWD}:/a', '$PWD/lib:/b', '${SRC:-./api}:/c', '${UNKNOWN}:/d']}}",
        ["web"],
    ),
    "the image that another one builds": (
        "services: {web: {build: ., image: app}, worker: {image: app}, db: {image: postgres}}",
        ["web", "worker"],
    ),
    "an image of Python, with a mount": (
        "services: {job: {image: 'python:3.13', volumes: ['.:/app']},"
        " shell: {image: 'python:3.13'},"
        " proxy: {image: nginx, volumes: ['.:/app']}}",
        ["job"],
    ),
    "extends": (
        "services: {base: {build: api, volumes: ['./api:/app']}, web: {extends: base},"
        " other: {extends: {service: base}, volumes: ['./lib:/lib']}}",
        ["base", "web", "other"],
    ),
    "other servers, built from the same folder": (
        "services: {web: {build: {context: ., dockerfile: docker/web/Dockerfile}},"
        " nginx: {build: {context: ., dockerfile: docker/nginx/Dockerfile}},"
        " db: {build: {context: ., dockerfile: db.Dockerfile}}}",
        ["web"],
    ),
    "services of other languages": (
        "services: {web: {build: .}, ui: {build: ui}, far: {build: 'https://example.org/x.git'}}",
        ["web"],
    ),
    "services without a port of their own": (
        "services: {web: {build: .}, a: {build: ., network_mode: none},"
        " b: {build: ., network_mode: 'container:web'}}",
        ["web"],
    ),
    "a name whose last word is another program, and one whose is not": (
        "services: {kafka-consumer: {build: {context: ., target: prod}},"
        " shop-node: {build: {context: ., target: shop-node}},"
        " proxy: {build: {context: ., dockerfile: Dockerfile.nginx}}}",
        ["kafka-consumer"],
    ),
    "variables that are nowhere set": (
        "services: {web: {build: ., volumes: ['.:${HOME_OF_APP}'], working_dir: '$WHERE'}}",
        ["web"],
    ),
    "names that dictionaries have for something else": (
        "services: {items: {build: .}, update: {build: .}, get: {image: redis}}",
        ["items", "update"],
    ),
    "health checks of all kinds": (
        "services: {web: {build: ., healthcheck: {disable: true}},"
        " a: {image: x, healthcheck: {disable: '${NO:-false}', test: NONE}},"
        " b: {image: x, healthcheck: {test: [CMD-SHELL]}}, c: {image: x, healthcheck: }}",
        ["web"],
    ),
    "an image with a mount of Python": (
        "services: {dags: {image: apache/airflow, volumes: ['./lib:/opt/dags']},"
        " files: {image: nginx, volumes: ['.:/usr/share']}}",
        ["dags"],
    ),
    "nothing in a service": ("services: {web: {build: .}, empty: }", ["web"]),
}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder with Python at the root and in `api`, `lib` and `lib/deep`, and other folders."""
    python = ["main.py", "api/setup.py", "lib/a.py", "lib/deep/b.py", "ui/tools/x.py"]
    other = ["static/a.css", "ui/package.json"]
    return write(tmp_path / "app", dict.fromkeys(python + other, ""))


@pytest.mark.parametrize("what", FOUND)
def test_services_are_found(template: Path, app: Path, what: str) -> None:
    text, expected = FOUND[what]
    write(app, {"compose.yaml": text})
    render(template, app)
    assert answers(app)["debug_services"] == [{"name": name} for name in expected]


# The files of a project with Python at its root, and the services that adoption finds in it.
COMPOSE = "services: {{web: {{build: {{context: ., dockerfile: {}}}}}, app: {{build: .}}}}"
PYTHON = "FROM python:3.13-slim\nCOPY . .\nCMD python main.py\n"
UNREADABLE = "FROM x\n# with a comment\nRUN y\n"
BUILDS = {
    "a Dockerfile of Node": (
        {
            "compose.yaml": COMPOSE.format("web/Dockerfile"),
            "web/Dockerfile": "FROM node:22 AS build\nCOPY . .\nRUN npm ci\n"
            "FROM nginx:1\nCOPY --from=build /dist /usr/share/nginx/html\n",
        },
        ["app"],
    ),
    "a Dockerfile of Node that has Python for its build only": (
        {
            "compose.yaml": COMPOSE.format("web.Dockerfile"),
            "web.Dockerfile": "FROM node:22\nRUN apk add python3 make\nCOPY . .\nCMD npm start\n",
        },
        ["app"],
    ),
    "a Dockerfile of C++": (
        {
            "compose.yaml": COMPOSE.format("web/Dockerfile"),
            "web/Dockerfile": "FROM debian:12\nRUN apt install g++\nCOPY . .\nCMD ./server\n",
        },
        ["app"],
    ),
    "a Dockerfile whose image is an argument": (
        {
            "compose.yaml": COMPOSE.format("web/Dockerfile"),
            "web/Dockerfile": "ARG BASE=ruby:3\nFROM ${BASE}\nCOPY . .\nCMD rails server\n",
        },
        ["app"],
    ),
    "a Dockerfile that cannot be read, in a folder of another project": (
        {
            "compose.yaml": COMPOSE.format("web/Dockerfile"),
            "web/Dockerfile": UNREADABLE,
            "web/package.json": "{}",
        },
        ["app"],
    ),
    "a stage that makes assets, and one that has Python": (
        {
            "compose.yaml": "services: {js: {build: {context: ., target: bundle}},"
            " app: {build: {context: ., target: run}}}",
            "Dockerfile": "FROM node:22 AS bundle\nCOPY . .\nRUN npm ci\n"
            f"{PYTHON.replace('slim', 'slim AS base')}FROM base AS run\n",
        },
        ["app"],
    ),
    "Python that is installed in a bare image": (
        {
            "compose.yaml": "services: {app: {build: .}}",
            "Dockerfile": "FROM ubuntu:24.04\nRUN apt install python3\nCOPY . .\nCMD ./start.sh\n",
        },
        ["app"],
    ),
    "Python in an image of Node": (
        {
            "compose.yaml": "services: {app: {build: .}}",
            "Dockerfile": "FROM node:22\nRUN pip install -r need.txt\nCOPY . .\nCMD npm start\n",
        },
        ["app"],
    ),
    "images that are not known, one of which gets no Python of the project": (
        {
            "compose.yaml": "services: {series: {build: {context: ., dockerfile: a/Dockerfile}},"
            " api: {build: {context: ., dockerfile: b/Dockerfile}},"
            " jobs: {build: {context: ., dockerfile: c/Dockerfile}}}",
            "a/Dockerfile": "FROM example/series:16\nCOPY ./a/tools /bin/\nRUN chmod +x /bin/*\n",
            "a/tools/backup": "",
            "b/Dockerfile": "FROM example/base:16\nCOPY . .\n",
            "c/Dockerfile": "FROM example/base:16\nCOPY /lib /lib\n",
            "lib/x.py": "",
        },
        ["api", "jobs"],
    ),
    "a tool with none of the project's code": (
        {
            "compose.yaml": COMPOSE.format("web/Dockerfile"),
            "web/Dockerfile": "FROM python:3.13\nRUN pip install mlflow\nCMD mlflow server\n",
        },
        ["app"],
    ),
    "tools in published images": (
        {
            "compose.yaml": "services: {app: {build: .}, a: {image: 'ghcr.io/mlflow/mlflow:v2',"
            " volumes: ['.:/w']}, b: {image: 'quay.io/jupyter/scipy-notebook', volumes: ['.:/w']}}",
        },
        ["app"],
    ),
    "Dockerfiles that cannot be read, of which other services start Python": (
        {
            "compose.yaml": """
                services:
                  app: {build: {context: ., dockerfile: docker/web.Dockerfile, target: run}}
                  node: {build: {context: ., dockerfile: docker/web.Dockerfile, target: run}}
                  job: {build: {context: ., dockerfile: docker/web.Dockerfile, target: run},
                        command: python job.py}
                  js: {build: {context: ., dockerfile: docker/web.Dockerfile, target: assets-node}}
                  ui: {build: {context: ., dockerfile: docker/ui.Dockerfile},
                       healthcheck: {test: [CMD, python, -c, "pass"]}}
                  db: {build: {context: ., dockerfile: docker/db.Dockerfile}}
            """,
            **dict.fromkeys(
                [f"docker/{name}.Dockerfile" for name in ("web", "ui", "db")], UNREADABLE
            ),
            "docker/package.json": "{}",
        },
        ["app", "node", "job", "ui"],
    ),
    "a Dockerfile that cannot be read, beside the settings of a proxy": (
        {
            "compose.yaml": COMPOSE.format("docker/Dockerfile"),
            "docker/Dockerfile": UNREADABLE,
            "docker/nginx.conf": "",
        },
        ["web", "app"],
    ),
    "Dockerfiles that cannot be read, in folders with the name of another program in theirs": (
        {
            "compose.yaml": "services:"
            " {a: {build: {context: ., dockerfile: images/redis-monitor/Dockerfile}},"
            " b: {build: {context: ., dockerfile: images/redis-7/Dockerfile}},"
            " nginx-2: {build: {context: ., dockerfile: images/x/Dockerfile}}}",
            **dict.fromkeys(
                [f"images/{name}/Dockerfile" for name in ("redis-monitor", "redis-7", "x")],
                UNREADABLE,
            ),
        },
        ["a"],
    ),
    "Dockerfiles that cannot be read, of servers beside the project": (
        {
            "compose.yaml": "services: {ci: {build: {context: ., dockerfile: Dockerfile.jenkins}},"
            " shop-grafana: {build: {context: ., dockerfile: x.Dockerfile}},"
            " prometheus-exporter: {build: {context: ., dockerfile: x.Dockerfile}}}",
            "Dockerfile.jenkins": UNREADABLE,
            "x.Dockerfile": UNREADABLE,
        },
        ["prometheus-exporter"],
    ),
    "a file of Python that is mounted into a tool": (
        {
            "compose.yaml": "services:"
            " {hub: {build: {context: ., dockerfile: Dockerfile.jupyterhub},"
            " volumes: ['./main.py:/etc/settings.py']}}",
            "Dockerfile.jupyterhub": UNREADABLE,
        },
        ["hub"],
    ),
    "the program of a package that many projects run": (
        {
            "compose.yaml": "services: {node: {build: {context: ., dockerfile: x.Dockerfile},"
            " entrypoint: [alembic, upgrade, head]}}",
            "x.Dockerfile": UNREADABLE,
        },
        ["node"],
    ),
    "images for development, whose code is mounted": (
        {
            "compose.yaml": """
                services:
                  app: {build: images/dev, volumes: ['.:/srv']}
                  api: {build: images/other, volumes: ['.:/srv']}
                  web: {build: images/nginx, volumes: ['.:/srv']}
                  idle: {build: images/dev}
            """,
            "images/dev/Dockerfile": "FROM python:3.13-slim\nRUN pip install celery\n",
            "images/other/Dockerfile": UNREADABLE,
            "images/nginx/Dockerfile": UNREADABLE,
        },
        ["app", "api"],
    ),
    "folders above, with all that is here": (
        {
            "compose.yaml": """
                services:
                  app: {build: images/dev, volumes: ['..:/srv']}
                  api: {build: images/dev, volumes: [{type: bind, source: ../.., target: /srv}]}
                  x: {build: images/dev, volumes: ['../other:/srv']}
                  y: {build: images/dev, volumes: [{type: bind, source: /, target: /srv}]}
            """,
            "images/dev/Dockerfile": "FROM python:3.13-slim\n",
        },
        ["app", "api"],
    ),
    "code that an image clones by Git": (
        {
            "compose.yaml": COMPOSE.format("web/Dockerfile"),
            "web/Dockerfile": "FROM python:3.13-slim\nRUN git clone https://example.org/x.git\n",
        },
        ["web", "app"],
    ),
    "an override by itself": (
        {"compose.yaml": "services: {app: {build: .}, more: {volumes: ['.:/app']}}"},
        ["app"],
    ),
    "Python that is called like another program": (
        {
            "compose.yaml": "services: {cache: {build: {context: ., dockerfile: cache/Dockerfile}},"
            " db: {build: {context: ., dockerfile: x.Dockerfile}, command: python db.py}}",
            "cache/Dockerfile": PYTHON,
            "x.Dockerfile": UNREADABLE,
        },
        ["cache", "db"],
    ),
}


@pytest.mark.parametrize("what", BUILDS)
def test_dockerfiles_tell_which_services_are_python(
    template: Path, tmp_path: Path, what: str
) -> None:
    files, expected = BUILDS[what]
    root = write(tmp_path / "app", {"main.py": "", "Dockerfile": PYTHON, **files})
    render(template, root)
    assert [service["name"] for service in answers(root)["debug_services"]] == expected


def test_python_far_below_is_found(template: Path, tmp_path: Path) -> None:
    files = {
        "compose.yaml": "services:"
        " {a: {build: {context: ., dockerfile: some/deep/est/app/Dockerfile}},"
        " b: {build: {context: more, dockerfile: ../b.Dockerfile}}}",
        "some/deep/est/app/Dockerfile": PYTHON,
        "b.Dockerfile": PYTHON,
        "some/deep/est/app/src/app/main.py": "",
        "some/deep/est/app/setup.py": "",
        "more/libs/one/pyproject.toml": "",
    }
    root = write(tmp_path / "app", files)
    render(template, root)
    assert [service["name"] for service in answers(root)["debug_services"]] == ["a", "b"]


@pytest.mark.parametrize("dockerfile", [PYTHON, UNREADABLE])
def test_package_json_beside_python_does_not_matter(
    template: Path, tmp_path: Path, dockerfile: str
) -> None:
    files = {"compose.yaml": "services: {app: {build: .}}", "Dockerfile": dockerfile}
    root = write(tmp_path / "app", {**files, "package.json": "{}", "src/app/main.py": ""})
    render(template, root)
    assert [service["name"] for service in answers(root)["debug_services"]] == ["app"]


def test_debug_image_is_built_with_what_the_owners_build_needs(template: Path, app: Path) -> None:
    text = """
        services:
          web:
            build: {context: ., secrets: [netrc, {source: pip, target: pip.conf}], target: prod}
          job: {build: ., init: true}
    """
    write(app, {"compose.yaml": text})
    render(template, app)
    web = documents(app)[1]["services"]["web"]["build"]
    # All else stays: arguments, secrets, network, hosts, platforms.
    assert web == {
        "context": ".",
        "dockerfile": "docker/debug/debug.Dockerfile",
        "additional_contexts": {"app": "service:web-without-debugger"},
        **dict.fromkeys(["dockerfile_inline", "target", "tags", "cache_from", "cache_to"]),
    }
    dockerfile = (app / "docker/debug/debug.Dockerfile").read_text()
    assert re.findall("type=secret,id=(.+) ", dockerfile) == ["netrc", "pip.conf"]


def test_name_in_an_included_file_does_not_name_the_project(template: Path, app: Path) -> None:
    files = {
        "compose.yaml": "include: [sub/c.yaml]\n"
        "services: {web: {build: ., extends: {file: sub/base.yaml, service: base}}}",
        "sub/c.yaml": "name: other\nservices: {db: {image: redis}}",
        "sub/base.yaml": "name: another\nservices: {base: {image: x}}",
    }
    write(app, files)
    render(template, app)
    assert "name" not in documents(app)[0]
    assert answers(app)["compose_name"] == ""


def test_text_in_place_of_a_list_is_read(template: Path, app: Path) -> None:
    text = """
        services:
          web: {build: ., ports: "5022:5000", expose: "5678", volumes: ".:/app", profiles: x,
                depends_on: db, develop: {watch: x}}
          db: {image: redis}
    """
    write(app, {"compose.yaml": text})
    render(template, app)
    assert answers(app)["debug_services"] == [{"name": "web"}]
    assert answers(app)["service_facts"]["web"]["port"] == 5679


def test_service_in_a_profile_is_started_by_itself_only(template: Path, app: Path) -> None:
    text = "services: {a: {build: .}, b: {build: .}, c: {build: ., profiles: [tools]}}"
    write(app, {"compose.yaml": text})
    render(template, app)
    tasks = strict_json(app / ".vscode/tasks.json")["tasks"]
    started = {
        task["label"]: re.findall(r" up --build --detach (.+?) &&", task["command"])
        for task in tasks
    }
    assert started["all: start"] == ["a b"]
    assert started["c: start"] == ["c"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["compose.yaml", "docker-compose.yml"], ["compose.yaml"]),
        (["docker-compose.yaml", "docker-compose.yml"], ["docker-compose.yml"]),
        (["docker-compose.yaml"], ["docker-compose.yaml"]),
        (["compose.yml", "compose.override.yml"], ["compose.yml", "compose.override.yml"]),
        (["compose.yaml", "deploy/compose.yaml"], ["compose.yaml"]),
        (
            ["docker-compose.prod.yml", "docker-compose.local.yml", "docker-compose.debug.yml"],
            ["docker-compose.local.yml"],
        ),
        (["docker-compose.prod.yml", "examples/compose.yaml"], ["docker-compose.prod.yml"]),
        ([".devcontainer/docker-compose.yml"], [".devcontainer/docker-compose.yml"]),
        ([".devcontainer/docker-compose_dev.yml"], [".devcontainer/docker-compose_dev.yml"]),
        (["infra/local/docker-compose.yml"], ["infra/local/docker-compose.yml"]),
        (["local.yml", "docs/x.yml"], ["local.yml"]),
        (["environments/dev.yml"], ["environments/dev.yml"]),
        (["local.yml", "deploy/staging-compose.yml"], ["local.yml"]),
        (["dev.yml", "docker/compose.yaml"], ["docker/compose.yaml"]),
        (["docker/docker-compose.prod.yml"], ["docker/docker-compose.prod.yml"]),
        (["docker-compose.override.yml"], ["docker-compose.override.yml"]),
        (
            ["deploy/compose.yaml", "deploy/docker-compose.override.yml"],
            ["deploy/compose.yaml", "deploy/docker-compose.override.yml"],
        ),
    ],
)
def test_compose_files_are_found_in_the_order_of_compose(
    template: Path, app: Path, files: list[str], expected: list[str]
) -> None:
    write(app, dict.fromkeys(files, "services: {}"))
    write(app, {expected[0]: "services: {web: {build: {context: .}}}"})
    write(app, {str(Path(expected[0]).with_name("main.py")): ""})
    render(template, app)
    assert answers(app)["compose_files"] == expected


DATABASE = "services: {db: {image: postgres}}"
WEB = "services: {web: {build: {context: .}}}"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"compose.yaml": DATABASE, "docker-compose.prod.yml": WEB}, ["docker-compose.prod.yml"]),
        (
            {"compose.yaml": DATABASE, "api/compose.yml": WEB, "api/compose.override.yml": WEB},
            ["api/compose.yml", "api/compose.override.yml"],
        ),
        (
            {
                "compose.yaml": DATABASE,
                "compose.override.yaml": WEB,
                "docker-compose.prod.yml": WEB,
            },
            ["compose.yaml", "compose.override.yaml"],
        ),
        (
            {
                "compose.yaml": "services: {web: {extends: {file: prod.yml, service: web}}}",
                "prod.yml": WEB,
                "docker-compose.prod.yml": WEB,
            },
            ["compose.yaml"],
        ),
        (
            {"compose.yaml": "include: [prod.yml]", "prod.yml": WEB, "docker-compose.yml": WEB},
            ["compose.yaml"],
        ),
        (
            {
                "compose.yaml": DATABASE,
                "docker-compose.dev.yml": "services: {db: !reset null}",
                "docker-compose.prod.yml": WEB,
            },
            ["docker-compose.prod.yml"],
        ),
    ],
)
def test_another_compose_file_is_proposed_if_only_it_has_python(
    template: Path, app: Path, files: dict[str, str], expected: list[str]
) -> None:
    write(app, {**files, "main.py": "", "api/main.py": ""})
    render(template, app)
    assert answers(app)["compose_files"] == expected
    assert [service["name"] for service in answers(app)["debug_services"]] == ["web"]


def test_debug_file_of_a_folder_below_is_beside_the_compose_file(template: Path, app: Path) -> None:
    write(app, {"deploy/compose.yaml": "services: {web: {build: ..}}"})
    render(template, app)
    first, second = documents(app, "deploy/docker-compose.debug.yml")
    assert first["include"] == ["compose.yaml"]
    assert second["services"]["web"]["build"]["context"] == ".."
    tasks = (app / ".vscode/tasks.json").read_text()
    assert "docker compose -f deploy/docker-compose.debug.yml up" in tasks


def test_ports_that_are_taken_are_left_alone(template: Path, app: Path) -> None:
    text = """
        services:
          a: {build: ., ports: ["127.0.0.1:5678:5678"]}
          b: {build: ., ports: ["${PORT:-5680}:80", {target: 80, published: 5681}]}
          c: {image: redis, ports: ["5685-5689:1-5/udp"]}
    """
    write(app, {"compose.yaml": text})
    render(template, app)
    assert answers(app)["debug_port"] == 5682


def test_debug_port_avoids_the_ports_of_its_service(template: Path, app: Path) -> None:
    text = """
        services:
          a: {build: ., ports: ["5670-5678:5670-5678"]}
          b: {build: ., expose: ["5678", 5679]}
          c: {build: ., ports: ["5678:80"]}
    """
    write(app, {"compose.yaml": text})
    render(template, app)
    services = documents(app)[1]["services"]
    for name, port in {"a": 5679, "b": 5680, "c": 5678}.items():
        assert services[name]["environment"]["REMORA_PORT"] == f"${{REMORA_PORT:-{port}}}"
        (published,) = services[name]["ports"]
        assert published.endswith(f":${{REMORA_PORT:-{port}}}")


def test_shared_network_publishes_the_ports_of_its_guests(template: Path, app: Path) -> None:
    text = """
        services:
          a: {build: ., network_mode: "service:db"}
          b: {build: ., network_mode: "service:db"}
          c: {build: ., network_mode: "service:web"}
          web: {build: .}
          db: {image: redis, expose: [5678]}
    """
    write(app, {"compose.yaml": text})
    render(template, app)
    services = documents(app)[1]["services"]

    def inside(name: str) -> list[str]:
        return re.findall(r"-(\d+)}", " ".join(services[name].get("ports", [])))

    assert {name: inside(name) for name in "abc"} == {"a": [], "b": [], "c": []}
    assert inside("db") == ["5679", "5680"]
    assert inside("web") == ["5679", "5678"]
    for name, port in {"a": 5679, "b": 5680, "c": 5678, "web": 5679}.items():
        found = services[name]["environment"].get("REMORA_PORT", "5678")
        assert found in (str(port), f"${{REMORA_PORT:-{port}}}")


def test_scaled_service_runs_one_container(template: Path, app: Path) -> None:
    text = (
        "services: {a: {build: ., scale: 2}, b: {build: ., deploy: {replicas: 3}}, c: {build: .}}"
    )
    write(app, {"compose.yaml": text})
    render(template, app)
    services = documents(app)[1]["services"]
    assert services["a"]["scale"] == 1
    assert services["b"]["deploy"] == {"replicas": 1}
    assert not services["c"].keys() & {"scale", "deploy"}


def test_debugging_changes_nothing_that_the_owner_has_set(template: Path, app: Path) -> None:
    text = """
        name: "${NAME:-shop}"
        services:
          web:
            build: .
            init: false
            network_mode: host
            healthcheck: {test: [CMD, curl, -f, "http://x/?a=1&b='2'"]}
          job: {build: .}
          last: {build: ., depends_on: {job: {condition: service_completed_successfully}}}
    """
    write(app, {"compose.yaml": text})
    render(template, app, debug_mode="listen")
    first, second = documents(app)
    assert first["name"] == "${NAME:-shop}"
    web, job = second["services"]["web"], second["services"]["job"]
    assert "init" not in web and job["init"] is True
    assert "ports" not in web
    assert web["environment"]["REMORA_PORT"] == "5678"
    assert web["healthcheck"]["test"].endswith("curl -f \"http://x/?a=1&b='2'\"")
    # A service that waits for its end should not wait for a debugger.
    assert job["environment"]["REMORA_MODE"] == ("${REMORA_MODE_JOB:-${REMORA_MODE:-demand}}")
    assert web["environment"]["REMORA_MODE"] == ("${REMORA_MODE_WEB:-${REMORA_MODE:-listen}}")


def test_a_service_alone_is_held_by_its_task(template: Path, app: Path) -> None:
    text = "services: {web: {build: ., depends_on: [Job.x-1]}, Job.x-1: {build: .}}"
    write(app, {"compose.yaml": text})
    render(template, app)
    assert answers(app)["debug_mode"] == "listen"
    tasks = strict_json(app / ".vscode/tasks.json")["tasks"]
    starts = [task for task in tasks if task["label"].endswith(": start")]
    held = {task["label"]: task["options"]["env"] for task in starts}
    assert held == {
        "web: start": {"REMORA_MODE_WEB": "wait"},
        "Job.x-1: start": {"REMORA_MODE_JOB_X_1": "wait"},
        "all: start": {"REMORA_MODE_WEB": "wait", "REMORA_MODE_JOB_X_1": "wait"},
    }
    services = documents(app)[1]["services"]
    for name, variable in [("web", "REMORA_MODE_WEB"), ("Job.x-1", "REMORA_MODE_JOB_X_1")]:
        mode = services[name]["environment"]["REMORA_MODE"]
        assert mode.startswith(f"${{{variable}:-${{REMORA_MODE:-")


@pytest.mark.parametrize("name", ["web", "Web.App-1", "yes", "1e3", "null", "7"])
def test_any_service_name_works_in_the_debug_file(template: Path, app: Path, name: str) -> None:
    write(app, {"compose.yaml": f'services: {{"{name}": {{build: .}}}}'})
    render(template, app)
    services = documents(app)[1]["services"]
    assert list(services) == [name, "remora", f"{name}-without-debugger"]
    for made in services.values():
        assert made["image"] == made["image"].replace(name, name.lower())


# ---- What is refused ----

REFUSED = {
    "no Python": (
        {"compose.yaml": "services: {db: {image: redis}}"},
        [],
        "no service of compose.yaml seems to run Python. Name the services that run Python: --data",
    ),
    "a YAML tag": (
        {**FILES, "compose.yaml": "services: {web: {build: ., ports: !reset []}}"},
        [],
        "compose.yaml cannot be read here, because of YAML tags",
    ),
    "two documents": (
        {**FILES, "compose.yaml": "services: {web: {build: .}}\n---\nservices: {}\n"},
        [],
        "compose.yaml cannot be read here, because of YAML tags, several documents",
    ),
    "tabs": (
        {**FILES, "compose.yaml": "services:\n  web:\n    build:\t.\n"},
        [],
        "compose.yaml cannot be read here, because of YAML tags, several documents or tabs",
    ),
    "no Compose file": (
        {"main.py": ""},
        ["--data=mode=adopt"],
        "no Compose file was found: looked for files called *compose*.yaml or *.yml",
    ),
    "no Compose file in a project of Git": (
        {"main.py": "", "README.md": "", ".git/HEAD": "ref: refs/heads/main\n"},
        [],
        "Name it with --data 'compose_files=[path/to/file.yaml]'",
    ),
    "no Compose file near in a repository of packages": (
        {"libs/a/pyproject.toml": "", "README.md": "", ".git/HEAD": "ref: refs/heads/main\n"},
        [],
        "Name it with --data 'compose_files=[path/to/file.yaml]'",
    ),
    "Python in another Compose file": (
        {"compose.yaml": "services: {db: {image: redis}}", "docker-compose.dev.yml": ""},
        [],
        "Name another file, such as --data 'compose_files=[docker-compose.dev.yml]'",
    ),
    "Python in a Compose file of the tests": (
        {
            "compose.yaml": "services: {db: {image: redis}}",
            "tests/compose.yaml": "services: {web: {build: .}}",
            "tests/main.py": "",
        },
        [],
        "Name another file, such as --data 'compose_files=[tests/compose.yaml]'",
    ),
    "a Compose file that is used with --project-directory": (
        {
            "infra/compose.yaml": "services: {api: {build:"
            " {context: ., dockerfile: infra/Dockerfile}}}",
            "infra/Dockerfile": "FROM python:3.13-slim\nCOPY . .\n",
            "main.py": "",
        },
        [],
        "with infra/infra/Dockerfile, which does not exist, but infra/Dockerfile does: a file that",
    ),
    "the name of a service for the one that shows dumps": (
        FILES,
        ["--data=dump_service=web"],
        "dump_service: web is a service of compose.yaml: choose another name, such as --data"
        " dump_service=remora",
    ),
    "an empty Compose file": (
        {**FILES, "compose.yaml": "# to come\n"},
        [],
        "no service of compose.yaml seems to run Python",
    ),
    "no mapping of services": (
        {**FILES, "compose.yaml": "services: [web]\n"},
        [],
        "no service of compose.yaml seems to run Python",
    ),
    "a file called .vscode": ({**FILES, ".vscode": "x"}, [], ".vscode exists already"),
    "a file called .zed": (
        {**FILES, ".zed": "x"},
        ["--data=editors=[zed]"],
        ".zed exists already",
    ),
    "a Compose file that is not there": (
        FILES,
        ["--data=compose_files=[compose.yaml, more.yaml]"],
        "compose_files: more.yaml is not a file in this folder",
    ),
    "a service that is not there": (
        FILES,
        ["--data=debug_services=[{name: web}, {name: wob}]"],
        "debug_services: wob is not a service of compose.yaml, which has web, db",
    ),
    "a Compose file that needs another": (
        {
            **FILES,
            "compose.yaml": "services: {web: {build: ., depends_on: [db]}}\n",
            "compose.db.yaml": "services: {db: {image: postgres}}\n",
            "compose.old.yaml": "services: {db: {image: mysql}}\n",
        },
        [],
        "web depends on db, which is not a service of compose.yaml. Name all Compose files that you"
        " use together, such as --data 'compose_files=[compose.yaml, compose.db.yaml]'; there is"
        " also compose.old.yaml",
    ),
    "no service that seems to run Python": (
        {"compose.yaml": "services: {db: {image: x}, old: {image: x}, app: {build: app}}\n"},
        [],
        "seems to run Python. Name the services that run Python: --data"
        " 'debug_services=[{name: app}]'",
    ),
    "a service that is nowhere": (
        {**FILES, "compose.yaml": "services: {web: {build: ., depends_on: {db: {}}}}\n"},
        [],
        "web depends on db, which is not a service of compose.yaml: Compose cannot start it",
    ),
    "a new project where one is": (
        FILES,
        ["--data=mode=new"],
        "already contains a Compose project (compose.yaml): choose another folder for a new",
    ),
    "a file of a new project": (
        {"Dockerfile": ""},
        ["--data=mode=new"],
        "/Dockerfile exists already. Choose another folder, keep what is there with `--skip",
    ),
    "answers to another template": (
        {**FILES, ".copier-answers.yml": "_src_path: https://example.org/x\nproject_name: x\n"},
        [],
        ".copier-answers.yml belongs to another template: keep Remora's answers in another file",
    ),
    "a file called docker": ({**FILES, "docker": "x"}, [], "docker exists already"),
    "a file of that name": (
        {**FILES, "docker/debug/install.py": "x"},
        [],
        "docker/debug/install.py exists already",
    ),
    "both names of the debug file": (
        {**FILES, "docker-compose.debug.yml": "", "docker-compose.debugpy.yml": ""},
        [],
        "docker-compose.debug.yml and docker-compose.debugpy.yml exist already",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_refusal_is_one_line_and_changes_nothing(template: Path, tmp_path: Path, why: str) -> None:
    files, options, message = REFUSED[why]
    root = write(tmp_path / "app", files)
    before = contents(root)
    done = copy_without_questions(template, root, *options)
    assert done.returncode == 1
    assert message in reason(done.stderr)
    assert contents(root) == before


def test_unreadable_compose_file_can_be_adopted_with_the_answer_named(
    template: Path, tmp_path: Path
) -> None:
    root = write(
        tmp_path / "app", {**FILES, "compose.yaml": "services: {web: {build: ., ports: !reset []}}"}
    )
    (option,) = re.findall(r"--data '(.+)'", copy_without_questions(template, root).stderr)
    done = copy_without_questions(template, root, "--data", option)
    assert done.returncode == 0, done.stderr
    assert documents(root)[1]["services"].keys() == {"web", "remora", "web-without-debugger"}


def test_service_need_not_exist_if_compose_does_not_require_it(
    template: Path, tmp_path: Path
) -> None:
    needs = "depends_on: {db: {condition: service_started, required: false}}"
    files = {**FILES, "compose.yaml": f"services: {{web: {{build: ., {needs}}}}}\n"}
    done = copy_without_questions(template, write(tmp_path / "app", files))
    assert done.returncode == 0, done.stderr


def test_compose_files_given_mean_adoption(template: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "app", {**FILES, "stack.yml": FILES["compose.yaml"]})
    (root / "compose.yaml").unlink()
    done = copy_without_questions(template, root, "--data", "compose_files=[stack.yml]")
    assert done.returncode == 0, done.stderr
    assert documents(root)[0]["include"] == ["stack.yml"]
    assert not (root / "pyproject.toml").exists()


@pytest.mark.parametrize("folder", ["dep loy", "café", "in[f]ra", "x#y"])
def test_any_folder_may_hold_the_compose_file(template: Path, tmp_path: Path, folder: str) -> None:
    files = {f"{folder}/{name}": text for name, text in FILES.items()}
    root = write(tmp_path / "app", files)
    done = copy_without_questions(template, root)
    assert done.returncode == 0, done.stderr
    first, second = documents(root, f"{folder}/docker-compose.debug.yml")
    assert first["include"] == ["compose.yaml"]
    assert second["services"]["web"]["build"]["context"] == ".."
    assert (
        f'-f \\"{folder}/docker-compose.debug.yml\\" up'
        in (root / ".vscode/tasks.json").read_text()
    )


def test_answers_file_of_another_template_is_kept(template: Path, tmp_path: Path) -> None:
    other = "_src_path: https://example.org/x\nproject_name: x\n"
    root = write(tmp_path / "app", {**FILES, ".copier-answers.yml": other})
    done = copy_without_questions(template, root, "--answers-file", ".copier-answers.remora.yml")
    assert done.returncode == 0, done.stderr
    assert (root / ".copier-answers.yml").read_text() == other
    assert (root / ".copier-answers.remora.yml").exists()


BAD_SERVICES = [
    ("web", "must be a list of services"),
    ("{web: {}}", "must be a list of services"),
    ("[web]", "must be a list of services"),
    ("[{name: web, port: 1}]", "must be a list of services"),
    ("[{path_mappings: []}]", "must be a list of services"),
    ("[{name: a b}]", "a b is not a valid service name"),
    ("[{name: web, path_mappings: /app}]", "path_mappings of web must be a list"),
    ("[{name: web, path_mappings: [/app]}]", "path_mappings of web must be a list"),
    *(
        (
            f"[{{name: web, path_mappings: [{{local_root: '{path}', remote_root: /app}}]}}]",
            "local_root",
        )
        for path in ["", "/app", "..", "../app", "./app", "src/", "a/../b", "${HOME}", "src/."]
    ),
    *(
        (
            f"[{{name: web, path_mappings: [{{local_root: src, remote_root: '{path}'}}]}}]",
            "remote_root",
        )
        for path in ["", "app", "./app", "/app/", "/$X"]
    ),
    (
        "[{name: web}, {name: web, path_mappings: []}]",
        "must name each service once",
    ),
]


@pytest.mark.parametrize(("answer", "message"), BAD_SERVICES)
def test_bad_services_are_refused(
    template: Path, tmp_path: Path, answer: str, message: str
) -> None:
    root = write(tmp_path / "app", FILES)
    with pytest.raises(UserMessageError, match="debug_services") as refusal:
        render(template, root, debug_services=answer)
    assert message in str(refusal.value)
    assert contents(root).keys() == set(map(Path, FILES))


# ---- Later ----


@pytest.mark.parametrize("has_launch_json", [True, False])
def test_message_after_a_copy_says_what_to_do_first(
    template: Path, tmp_path: Path, has_launch_json: bool
) -> None:
    own = {".vscode/launch.json": '{"configurations": []}'} if has_launch_json else {}
    root = write(tmp_path / "app", {**FILES, **own})
    said = copy_without_questions(template, root).stderr
    first = "When you have added these, open that folder" if own else "Open that folder"
    assert f"{first} in VS Code and press F5" in said
    assert said.count("and attach any DAP client to 127.0.0.1:5678.") == 1


@pytest.fixture
def adopted(later: Path, tmp_path: Path) -> Path:
    """A project that has adopted the first release. Its owner has then added a service."""
    root = write(tmp_path / "app", FILES)
    render(later, root, version=NEXT)
    with (root / "compose.yaml").open("a") as file:
        # In another order than the alphabetical one
        file.write("  worker:\n    build: .\n    working_dir: /srv\n  api:\n    build: .\n")
    commit(root)
    return root


def test_update_finds_what_the_copy_found(later: Path, adopted: Path, tmp_path: Path) -> None:
    found = answers(adopted)
    git(tmp_path, "clone", "--quiet", "app", "elsewhere")
    for root in (adopted, tmp_path / "elsewhere"):
        update(root)
        assert "interval: 20s" in (root / "docker-compose.debug.yml").read_text()
        assert answers(root) == {**found, "_commit": answers(root)["_commit"]}
        assert documents(root)[1]["services"].keys() == {"web", "remora", "web-without-debugger"}


def test_refresh_finds_a_new_service_and_keeps_edits(adopted: Path) -> None:
    file = adopted / "docker-compose.debug.yml"
    file.write_text(file.read_text().replace("start_period: 30s", "start_period: 99s"))
    commit(adopted)
    update(adopted, "--vcs-ref=:current:", "--data=refresh=true")
    assert "start_period: 99s" in file.read_text()
    assert "<<<<" not in file.read_text()
    services = documents(adopted)[1]["services"]
    expected = ["web", "worker", "api"]
    images = [f"{name}-without-debugger" for name in expected]
    assert list(services) == [*expected, "remora", *images]
    assert answers(adopted)["debug_services"] == [{"name": name} for name in expected]
    before = contents(adopted)
    commit(adopted)
    update(adopted, "--vcs-ref=:current:")
    assert contents(adopted) == before
    # `refresh` is not recorded: the next update does not look again.
    assert "refresh" not in answers(adopted)


def test_refresh_that_finds_nothing_is_refused(adopted: Path) -> None:
    write(adopted, {"compose.yaml": "services: {db: {image: redis}}"})
    commit(adopted)
    before = contents(adopted)
    done = update(adopted, "--vcs-ref=:current:", "--data=refresh=true", check=False)
    assert done.returncode == 1
    assert "no service of compose.yaml seems to run Python" in done.stderr.splitlines()[-1]
    assert contents(adopted) == before


def test_refresh_finds_a_port_that_is_free_now(adopted: Path) -> None:
    text = "services:\n  web:\n    build: .\n  db:\n    image: redis\n    ports: ['5678:6379']\n"
    write(adopted, {"compose.yaml": text})
    commit(adopted)
    update(adopted, "--vcs-ref=:current:", "--data=refresh=true")
    assert answers(adopted)["debug_port"] == 5679


@pytest.mark.parametrize(
    ("gone", "left"),
    [("compose.yaml", {}), ("web", {"compose.yaml": "services: {db: {image: redis}}"})],
)
def test_update_names_what_no_longer_exists(adopted: Path, gone: str, left: dict[str, str]) -> None:
    (adopted / "compose.yaml").unlink()
    write(adopted, left)
    commit(adopted)
    message = update(adopted).stderr.split("up --build\n")[1]
    assert f"Not found any more: {gone}. " in message
    assert "--data refresh=true" in message


def test_refresh_reads_the_compose_files_on_the_command_line(adopted: Path) -> None:
    write(adopted, {"more.yaml": "services: {more: {build: .}}"})
    commit(adopted)
    given = "--data=compose_files=[compose.yaml, more.yaml]"
    update(adopted, "--vcs-ref=:current:", given, "--data=refresh=true")
    assert documents(adopted)[1]["services"].keys() >= {"web", "more"}
    before = contents(adopted)
    commit(adopted)
    given = given.replace("more", "less")
    done = update(adopted, "--vcs-ref=:current:", given, check=False)
    assert "compose_files: less.yaml is not a file" in done.stderr.splitlines()[-1]
    assert contents(adopted) == before


def test_new_answer_to_debug_services_finds_the_facts_again(adopted: Path) -> None:
    services = "[{name: worker, path_mappings: [{local_root: ., remote_root: /srv}]}]"
    update(adopted, "--vcs-ref=:current:", "--data", f"debug_services={services}")
    assert documents(adopted)[1]["services"].keys() == {
        "worker",
        "remora",
        "worker-without-debugger",
    }


@pytest.mark.parametrize(
    ("services", "volumes", "name"),
    [
        (["remora", "remora-debug", "remora-debugger"], [], "remora-2"),
        (["remora", "remora-debug"], ["remora-debugger-dumps"], "remora-2"),
        (
            ["remora", "remora-debug", "remora-debugger", "remora-2"],
            ["remora-3-dumps", "remora-5-dumps"],
            "remora-4",
        ),
    ],
)
def test_service_that_shows_dumps_has_a_free_name(
    template: Path, tmp_path: Path, services: list[str], volumes: list[str], name: str
) -> None:
    model = {
        "services": {"web": {"build": "."}, **{one: {"image": "redis"} for one in services}},
        "volumes": dict.fromkeys(volumes),
    }
    root = write(tmp_path, {**FILES, "compose.yaml": json.dumps(model)})
    render(template, root)
    debug_file = documents(root)[-1]
    assert set(debug_file["services"]) - {*model["services"], "web-without-debugger"} == {name}
    assert debug_file["volumes"].keys() == {f"{name}-dumps"}


def test_files_that_existed_are_kept_at_every_update(later: Path, tmp_path: Path) -> None:
    own = {".vscode/launch.json": "{ /* mine */ }\n", "docker-compose.debug.yml": "services: {}\n"}
    root = write(tmp_path / "app", {**FILES, **own})
    render(later, root, version=NEXT)
    commit(root)
    update(root)
    assert {name: (root / name).read_text() for name in own} == own
    assert "interval: 20s" in (root / "docker-compose.debugpy.yml").read_text()


EDITORS = "--data=editors=[vscode, zed, devcontainer]"


def test_message_contains_everything_to_paste(template: Path, tmp_path: Path) -> None:
    text = "services: {web: {build: .}, api: {build: .}}"
    files = {**FILES, "compose.yaml": text}
    fresh = write(tmp_path / "fresh", files)
    copy_without_questions(template, fresh, EDITORS)
    own = {f".vscode/{name}.json": "{}" for name in ("launch", "tasks", "extensions")}
    own.update({".zed/debug.json": "[]", ".devcontainer/devcontainer.json": "{}"})
    root = write(tmp_path / "own", {**files, **own})
    done = copy_without_questions(template, root, EDITORS)
    # Each line of the file that a fresh copy writes, except its frame
    for name in (".vscode/launch.json", ".vscode/tasks.json", ".zed/debug.json"):
        lines = (fresh / name).read_text().splitlines()
        inner = [line for line in lines if line.startswith("    ")]
        assert inner and set(inner) <= set(done.stderr.splitlines())
    for key in ("configurations", "compounds", "tasks"):
        assert f'"{key}":\n' in done.stderr
    # A second Dev Container, in a folder of its own
    text = done.stderr.split("lets you choose between both:")[1]
    second = json.loads(re.match(r"\s*(\{.*?^\})$", text, re.DOTALL | re.MULTILINE)[1])
    for name in second["dockerComposeFile"]:
        assert (root / ".devcontainer/debug" / name).resolve().exists()
    assert {name: (root / name).read_text() for name in own} == own


@pytest.mark.parametrize("editors", ["[vscode]", "[vscode, devcontainer]"])
def test_compose_file_of_an_existing_dev_container_is_kept(
    template: Path, tmp_path: Path, editors: str
) -> None:
    files = {name: text for name, text in FILES.items() if name != "compose.yaml"}
    own = {
        ".devcontainer/compose.yaml": "services: {web: {build: ..}}\n",
        ".devcontainer/devcontainer.json": "{}",
    }
    root = write(tmp_path, {**files, **own})
    done = copy_without_questions(template, root, f"--data=editors={editors}")
    assert done.returncode == 0, done.stderr
    assert {name: (root / name).read_text() for name in own} == own
    added = {path.name for path in (root / ".devcontainer").iterdir()} - {Path(n).name for n in own}
    expected = {"docker-compose.debug.yml"}
    if "devcontainer" in editors:
        expected.add("compose.debug.yml")
        changes = (root / ".devcontainer/compose.debug.yml").read_text()
        assert "- ..:/workspace" in changes
    assert added == expected


def test_message_leaves_out_editors_that_were_not_chosen(template: Path, tmp_path: Path) -> None:
    own = {".vscode/launch.json": "{}", ".vscode/tasks.json": "{}", ".zed/debug.json": "[]"}
    root = write(tmp_path, {**FILES, **own})
    done = copy_without_questions(template, root, "--data=editors=[]")
    assert done.returncode == 0 and "as it was" not in done.stderr
    assert {name: (root / name).read_text() for name in own} == own


def test_enter_to_every_question_gives_the_defaults(template: Path, tmp_path: Path) -> None:
    for folder in ("answered", "by-default"):
        write(tmp_path / folder / "app", FILES)
    command = pexpect.spawn(
        program("copier"),
        ["copy", str(template), "app"],
        cwd=tmp_path / "answered",
        # The test's terminal does not report the position of its cursor.
        env={**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1"},
        dimensions=(24, 300),
        timeout=60,
    )
    for question in (
        "Create a new project",
        "name",
        "For which editors",
        "Which services run Python",
        "Which port",
        "What should",
    ):
        command.expect(question)
        command.send("\r")
    command.expect(pexpect.EOF)
    command.close()
    assert command.exitstatus == 0
    render(template, tmp_path / "by-default/app")
    assert contents(tmp_path / "answered/app") == contents(tmp_path / "by-default/app")
