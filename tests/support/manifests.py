"""Repositories with manifests for Kubernetes, the finds in each, and what Kustomize builds."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from support.programs import program
from support.rendering import commit, contents, copy_without_questions, reason

COMPOSE = """
services:
  web:
    build: .
  worker:
    build: .
    command: python worker.py
  queue:
    image: redis:8
"""
PROBE = {"httpGet": {"path": "/", "port": 8000}}
IMAGE = "ghcr.io/acme/shop:1.2"


def pods(*names: str, **container: Any) -> dict[str, Any]:
    """A template of pods with containers. Those called `nginx` do not run Python."""
    containers = [
        {"name": name, "image": "nginx:1" if name == "nginx" else IMAGE, **container}
        for name in names
    ]
    return {"metadata": {"labels": {"app": names[-1]}}, "spec": {"containers": containers}}


def workload(kind: str, name: str, template: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A workload of a built-in kind."""
    group = "batch/v1" if "Job" in kind else "apps/v1"
    if kind in ("Job", "CronJob"):
        template["spec"]["restartPolicy"] = "Never"
        spec["template"] = template
    else:
        spec.update(template=template, selector={"matchLabels": template["metadata"]["labels"]})
    if kind == "CronJob":
        spec = {"schedule": "0 3 * * *", "jobTemplate": {"spec": spec}}
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec}


WEB = workload("Deployment", "web", pods("web", livenessProbe=PROBE), replicas=3)
WORKER = workload("StatefulSet", "worker", pods("nginx", "main"), serviceName="worker", replicas=2)
AGENT = workload("DaemonSet", "agent", pods("agent", env=[{"name": "A", "value": "1"}]))
MIGRATE = workload("Job", "migrate", pods("migrate"), activeDeadlineSeconds=60)
REPORT = workload("CronJob", "report", pods("report"), ttlSecondsAfterFinished=9)
QUEUE = workload("Deployment", "queue", pods("nginx"))
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
JOBSET = {
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": {"name": "sweep"},
    "spec": {
        "successPolicy": {"operator": "Any", "targetReplicatedJobs": ["driver"]},
        "replicatedJobs": [
            {"name": "driver", "template": {"spec": {"template": pods("nginx")}}},
            {"name": "worker", "template": {"spec": {"template": pods("main")}}},
        ],
    },
}
TORCH = {
    "apiVersion": "kubeflow.org/v1",
    "kind": "PyTorchJob",
    "metadata": {"name": "train"},
    "spec": {
        "pytorchReplicaSpecs": {
            "Master": {"replicas": 1, "restartPolicy": "OnFailure", "template": pods("pytorch")},
            "Worker": {"replicas": 3, "template": pods("pytorch", livenessProbe=PROBE)},
        }
    },
}
# Jobs with ranks: 4 pods with 8 each, one pod with 2, 3 pods with one each, and a job of torch.
FIT = workload(
    "Job",
    "fit",
    pods("fit", command=["torchrun", "--nproc-per-node=8", "train.py"]),
    completionMode="Indexed",
    completions=4,
    parallelism=4,
    backoffLimitPerIndex=2,
    maxFailedIndexes=1,
    podFailurePolicy={"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "NotIn"}}]},
    successPolicy={"rules": [{"succeededIndexes": "0"}]},
)
PAIR = workload("Job", "pair", pods("pair", args=["--nproc_per_node", "2", "train.py"]))
GROUP = {
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": {"name": "group"},
    "spec": {
        "replicatedJobs": [
            {"name": "nodes", "template": {"spec": {"completions": 3, "template": pods("main")}}},
            {
                "name": "twice",
                "replicas": 2,
                "template": {"spec": {"completions": 3, "template": pods("main")}},
            },
        ]
    },
}
TUNE = {
    "apiVersion": "kubeflow.org/v1",
    "kind": "PyTorchJob",
    "metadata": {"name": "tune"},
    "spec": {
        "nprocPerNode": "4",
        "pytorchReplicaSpecs": {
            "Master": {"replicas": 1, "template": pods("pytorch")},
            "Worker": {"replicas": 3, "template": pods("pytorch")},
        },
    },
}
RAY = {
    "apiVersion": "ray.io/v1",
    "kind": "RayCluster",
    "metadata": {"name": "ray"},
    "spec": {
        "headGroupSpec": {"rayStartParams": {}, "template": pods("ray-head")},
        "workerGroupSpecs": [
            {"groupName": "small", "rayStartParams": {}, "template": pods("ray-worker")}
        ],
    },
}
RAY_JOB = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"name": "batch"},
    "spec": {"entrypoint": "python x.py", "rayClusterSpec": RAY["spec"], "backoffLimit": 2},
}
RAY_SERVICE = {
    "apiVersion": "ray.io/v1",
    "kind": "RayService",
    "metadata": {"name": "serve"},
    "spec": {"rayClusterConfig": {"headGroupSpec": {"template": pods("ray-head")}}},
}
ROLLOUT = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Rollout",
    "metadata": {"name": "site"},
    "spec": {"replicas": 5, "strategy": {"canary": {}}, "template": pods("site")},
}


def folder(name: str, *objects: dict[str, Any]) -> dict[str, str]:
    """A file for each object."""
    return {
        f"{name}/{found['metadata']['name']}-{found['kind'].lower()}.yaml": yaml.safe_dump(found)
        for found in objects
    }


def base(name: str, *objects: dict[str, Any]) -> dict[str, str]:
    """A folder with a Kustomization."""
    files = folder(name, *objects)
    text = yaml.safe_dump({"resources": [Path(path).name for path in files]})
    return {**files, f"{name}/kustomization.yaml": text}


def overlay(name: str, **more: str) -> dict[str, str]:
    return {f"{name}/kustomization.yaml": yaml.safe_dump({"resources": ["../../base"], **more})}


ALL = [WEB, WORKER, AGENT, MIGRATE, REPORT, QUEUE, SERVICE]
ALL_FOUND: dict[str, dict[str, Any]] = {
    "web": {"kind": "Deployment"},
    "worker": {"kind": "StatefulSet", "container": "main", "index": 1},
    "agent": {"kind": "DaemonSet", "service": "web"},
    "migrate": {"kind": "Job", "service": "web"},
    "report": {"kind": "CronJob", "service": "web"},
}
# Without a Compose file, the Dockerfile of the folder `shop` builds one image.
ALONE: dict[str, str | None] = {"compose.yaml": None}
ALONE_FOUND = {name: {**found, "service": "shop"} for name, found in ALL_FOUND.items()}
# The files of a repository, the workloads to find, and the answers to give
REPOSITORIES: dict[
    str, tuple[Mapping[str, str | None], dict[str, dict[str, Any]], dict[str, Any]]
] = {
    "manifests": (folder("k8s", *ALL), ALL_FOUND, {}),
    "list": (
        {"deploy/all.yaml": yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": ALL})},
        ALL_FOUND,
        {},
    ),
    "kustomization": (base("deploy", *ALL), ALL_FOUND, {}),
    "overlays": (
        {
            **base("k8s/base", *ALL),
            **overlay("k8s/overlays/dev", namePrefix="dev-", namespace="shop"),
            **overlay("k8s/overlays/prod", namePrefix="prod-"),
        },
        {name: {**found, "workload": f"dev-{name}"} for name, found in ALL_FOUND.items()},
        {},
    ),
    "operators": (
        folder("manifests", JOBSET, TORCH, RAY, RAY_JOB, RAY_SERVICE, ROLLOUT),
        {
            "sweep-worker": {
                "kind": "JobSet",
                "workload": "sweep",
                "path": "spec/replicatedJobs/1/template/spec/template",
                "container": "main",
                "service": "web",
            },
            "train-master": {
                "kind": "PyTorchJob",
                "workload": "train",
                "path": "spec/pytorchReplicaSpecs/Master/template",
                "container": "pytorch",
                "service": "web",
            },
            "train-worker": {
                "pods": 3,
                "kind": "PyTorchJob",
                "workload": "train",
                "path": "spec/pytorchReplicaSpecs/Worker/template",
                "container": "pytorch",
                "service": "web",
            },
            "ray-head": {
                "kind": "RayCluster",
                "workload": "ray",
                "path": "spec/headGroupSpec/template",
                "service": "web",
            },
            "ray-small": {
                "kind": "RayCluster",
                "workload": "ray",
                "path": "spec/workerGroupSpecs/0/template",
                "container": "ray-worker",
                "service": "web",
            },
            "batch-head": {
                "kind": "RayJob",
                "workload": "batch",
                "path": "spec/rayClusterSpec/headGroupSpec/template",
                "container": "ray-head",
                "service": "web",
            },
            "batch-small": {
                "kind": "RayJob",
                "workload": "batch",
                "path": "spec/rayClusterSpec/workerGroupSpecs/0/template",
                "container": "ray-worker",
                "service": "web",
            },
            "serve": {
                "kind": "RayService",
                "path": "spec/rayClusterConfig/headGroupSpec/template",
                "container": "ray-head",
                "service": "web",
            },
            "site": {"kind": "Rollout", "service": "web"},
        },
        {},
    ),
    "ranks": (
        folder("k8s", FIT, PAIR, GROUP, TUNE),
        {
            "fit": {"kind": "Job", "service": "web", "pods": 4, "ranks_per_pod": 8},
            "pair": {"kind": "Job", "service": "web", "pods": None, "ranks_per_pod": 2},
            "group-nodes": {
                "kind": "JobSet",
                "container": "main",
                "service": "web",
                "pods": 3,
                "ranks_per_pod": None,
            },
            # The index of a pod is not its rank.
            "group-twice": {"kind": "JobSet", "container": "main", "service": "web", "pods": None},
            "tune-master": {
                "kind": "PyTorchJob",
                "container": "pytorch",
                "service": "web",
                "pods": None,
                "ranks_per_pod": 4,
            },
            "tune-worker": {
                "kind": "PyTorchJob",
                "container": "pytorch",
                "service": "web",
                "pods": 3,
                "ranks_per_pod": 4,
            },
        },
        {},
    ),
    # As `helm template` prints manifests: in documents that a template cannot read.
    "rendered chart": (
        {"k8s/rendered.yaml": "# Source: x\n" + yaml.safe_dump_all([WEB, SERVICE, WORKER])},
        {"web": {}, "jobs": {"kind": "StatefulSet", "workload": "worker", "container": "main"}},
        {
            "workloads": "[{name: web}, {name: jobs, kind: StatefulSet, workload: worker,"
            " container: main, index: 1, service: worker}]"
        },
    ),
    "manifests alone": ({**ALONE, **folder("k8s", *ALL)}, ALONE_FOUND, {}),
    "overlays alone": (
        {
            **ALONE,
            **base("k8s/base", *ALL),
            **overlay("k8s/overlays/dev", namePrefix="dev-", namespace="shop"),
            **overlay("k8s/overlays/prod", namePrefix="prod-"),
        },
        {name: {**found, "workload": f"dev-{name}"} for name, found in ALONE_FOUND.items()},
        {},
    ),
    "rendered chart alone": (
        {**ALONE, "k8s/all.yaml": "# Source: x\n" + yaml.safe_dump_all([WEB, SERVICE, WORKER])},
        {"web": {}, "jobs": {"kind": "StatefulSet", "workload": "worker", "container": "main"}},
        {
            "workloads": "[{name: web, service: shop}, {name: jobs, kind: StatefulSet,"
            " workload: worker, container: main, index: 1, service: shop}]"
        },
    ),
}


def write(root: Path, files: Mapping[str, str | None]) -> Path:
    """Write a repository with an application for Compose, and manifests. None leaves a file out."""
    program = "FROM python:3.12-slim\nCOPY . .\nCMD python web.py\n"
    own = {"compose.yaml": COMPOSE, "Dockerfile": program, "web.py": "", "worker.py": ""}
    for path, text in {**own, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            (root / path).write_text(text)
    if "compose.yaml" in files:
        commit(root)  # without a Compose file, only what is in Git is a project
    return root


def assert_refused(
    template: Path, root: Path, files: Mapping[str, str | None], data: list[str], message: str
) -> None:
    """A copy into a repository with some files says why it refuses, and changes nothing."""
    write(root, files)
    before = contents(root)
    done = copy_without_questions(template, root, *(f"--data={each}" for each in data))
    assert reason(done.stderr).startswith(message), done.stderr
    assert contents(root) == before


def kustomize(folder: Path) -> list[dict[str, Any]]:
    """The objects that Kustomize builds from a folder."""
    done = subprocess.run(
        [program("kubectl"), "kustomize", folder], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""  # such as deprecations
    return list(yaml.safe_load_all(done.stdout))


def environment(container: dict[str, Any]) -> dict[str, str]:
    """The variables of a container that are set to plain values."""
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
