"""Existing manifests are adopted: none of them changes, and each workload can be debugged.

`deploy/debug.sh` runs against a stand-in for kubectl here, which builds with the real Kustomize.
"""

from __future__ import annotations

import copy
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.fake_cluster import STARTED, FakeCluster
from support.manifests import (
    ALL,
    ALL_FOUND,
    ALONE,
    IMAGE,
    MIGRATE,
    NAMESPACE,
    QUEUE,
    REPORT,
    REPOSITORIES,
    SERVICE,
    WEB,
    WORKER,
    assert_refused,
    base,
    environment,
    folder,
    kustomize,
    pods,
    workload,
    write,
)
from support.programs import tool
from support.project import wait_until
from support.rendering import (
    answers,
    commit,
    contents,
    copy_without_questions,
    git,
    render,
    update,
)
from support.validators import assert_tidy, strict_json

# The labels that number the pods of a Job and of a PyTorchJob.
INDEX, REPLICA = "batch.kubernetes.io/job-completion-index", "training.kubeflow.org/replica-index"


def manifests_of(root: Path) -> str:
    """The manifests that the owner applies."""
    found = [root / path for path in answers(root)["manifests"]]
    if found[0].name == "kustomization.yaml":
        return yaml.safe_dump_all(kustomize(found[0].parent))
    return "\n---\n".join(path.read_text() for path in found)


def is_alone(root: Path) -> bool:
    """Whether a repository has no Compose file."""
    return not (root / "compose.yaml").exists()


@pytest.fixture(scope="module", params=REPOSITORIES)
def owner(request, template: Path, tmp_path_factory) -> tuple[str, Path, dict[Path, bytes]]:
    """The name of a repository, the adopted project, and its contents before."""
    files, _, data = REPOSITORIES[request.param]
    root = write(tmp_path_factory.mktemp("owner") / "shop", files)
    before = contents(root)
    return request.param, render(template, root, **data), before


@pytest.fixture
def cluster(owner, tmp_path: Path) -> Iterator[FakeCluster]:
    shutil.copytree(owner[1], tmp_path / "my shop")
    cluster = FakeCluster(tmp_path / "cluster", tmp_path / "my shop")
    yield cluster
    assert cluster.forwards() == []


def test_workloads_are_found_and_nothing_changes(owner) -> None:
    name, root, before = owner
    assert contents(root).items() >= before.items()
    found = answers(root)
    assert found["engines"] == ["compose", "kubernetes"][is_alone(root) :]
    assert (root / "docker-compose.debug.yml").exists() != is_alone(root)
    assert (root / "docker/debug/docker-bake.hcl").exists() == is_alone(root)
    expected = REPOSITORIES[name][1]
    for entry in found["workloads"]:
        known = expected[entry["name"]]
        rest = {key: entry.get(key) for key in known}
        assert rest == known
    assert {entry["name"] for entry in found["workloads"]} == expected.keys()
    for path in [*(root / "deploy").rglob("*"), *(root / "docker/debug").iterdir()]:
        if path.is_file() and str(path.relative_to(root)) not in before:
            assert_tidy(path)
    script = root / "deploy/debug.sh"
    tool("shellcheck", script)
    tool("shfmt", "--diff", "--case-indent", "--indent", "2", script)


def test_editors_start_each_workload(owner) -> None:
    name, root, _ = owner
    tasks = {task["label"]: task for task in strict_json(root / ".vscode/tasks.json")["tasks"]}
    launch = strict_json(root / ".vscode/launch.json")["configurations"]
    for found in REPOSITORIES[name][1]:
        (one,) = (c for c in launch if c["name"] == f"{found}: debug in the cluster")
        assert tasks[one["preLaunchTask"]]["command"] == f"deploy/debug.sh up {found}"
        assert tasks[one["postDebugTask"]]["command"] == f"deploy/debug.sh down {found}"


def at(value: Any, path: str) -> Any:
    for key in path.split("/"):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


PATHS = {"CronJob": "spec/jobTemplate/spec/template"}


def test_each_workload_is_debuggable_and_nothing_else_changes(owner, cluster: FakeCluster) -> None:
    text = manifests_of(cluster.root)
    found = answers(cluster.root)["workloads"]
    expected = REPOSITORIES[owner[0]][1]
    before = {
        (each["kind"], each["metadata"]["name"]): each
        for each in yaml.safe_load_all(text)
        for each in each.get("items", [each])
    }
    for entry in found:
        done = cluster.render(text, entry["name"], "crash")
        assert done.returncode == 0, done.stderr
        after = list(yaml.safe_load_all(done.stdout))
        kind = entry.get("kind", "Deployment")
        id = kind, entry.get("workload", entry["name"])
        others = {(e["kind"], e["metadata"]["name"]): e for e in after}
        changed = others.pop(id)
        assert others == {key: each for key, each in before.items() if key != id}
        template = at(changed, entry.get("path", PATHS.get(kind, "spec/template")))
        old = copy.deepcopy(at(before[id], entry.get("path", PATHS.get(kind, "spec/template"))))
        index = expected[entry["name"]].get("index", entry.get("index", 0))
        container, was = template["spec"]["containers"][index], old["spec"]["containers"][index]
        service = entry.get("service", entry["name"])
        image = "shop" if service == "shop" else f"shop-{service}"
        assert container["image"] == f"{image}:debug-0123456789ab"
        values = environment(container)
        assert values.pop("REMORA_ADDRESS").startswith(f"{entry['name']} at 127.0.0.1:56")
        own = {"REMORA_MODE": "crash", "REMORA_HOST": "127.0.0.1", "REMORA_PORT": "5678"}
        ranks = expected[entry["name"]]
        if ranks.get("pods") or ranks.get("ranks_per_pod"):
            is_worker = entry["name"].endswith("-worker")
            own["REMORA_RANK"] = str((ranks.get("ranks_per_pod") or 1) * is_worker)
        assert values == {**environment(was), **own}
        assert "livenessProbe" not in container
        assert container["startupProbe"]["exec"] == {"command": ["remora", "ready", "--health"]}
        assert template["metadata"]["labels"] == {
            **old["metadata"]["labels"],
            "remora": entry["name"],
        }
        assert template["spec"]["terminationGracePeriodSeconds"] == 2
        assert "Seconds': 60" not in str(changed) and "ttlSeconds" not in str(changed)
        for n, other in enumerate(old["spec"]["containers"]):
            assert n == index or template["spec"]["containers"][n] == other
        if kind in ("Deployment", "Rollout"):
            assert changed["spec"]["replicas"] == 1
        if kind == "RayJob":
            assert changed["spec"]["backoffLimit"] == 0
            assert changed["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is False
        if kind == "CronJob":
            assert changed["spec"]["schedule"] == "* * * * *"
            assert changed["spec"]["concurrencyPolicy"] == "Forbid"
        limits = ("PerIndex", "FailedIndexes", "FailurePolicy", "successPolicy")
        assert not any(limit in str(changed) for limit in limits)
        if changed["apiVersion"] in ("apps/v1", "batch/v1"):
            kubernetes_validate.validate(changed, "1.25", strict=True)
    assert list((cluster.root / "deploy/.session").iterdir()) == [
        cluster.root / "deploy/.session/.gitignore"
    ]


def test_up_starts_the_application_in_the_namespace_that_is_named(
    owner, cluster: FakeCluster
) -> None:
    name = answers(cluster.root)["workloads"][0]["name"]
    pod = STARTED.replace("train", name)
    cluster.be(pods=pod)
    assert f"{name} can be debugged at 127.0.0.1:56" in cluster.said("up", name)
    manifest = (cluster.root / f"deploy/.session/{name}/manifest.yaml").read_text()
    applied = list(yaml.safe_load_all(manifest))
    owners = [
        e for e in yaml.safe_load_all(manifests_of(cluster.root)) for e in e.get("items", [e])
    ]
    assert len(applied) == len(owners)
    assert {each["metadata"]["namespace"] for each in applied} == {"team"}
    assert str(applied).count("REMORA_MODE") == 1
    brought = (cluster.folder / "brought").read_text()
    service = answers(cluster.root)["workloads"][0].get("service", name)
    build = f"compose -f docker-compose.debug.yml build {service}"
    if is_alone(cluster.root):
        build = f"buildx bake --file=docker/debug/docker-bake.hcl --load {service}"
    assert f"docker {build}\n" in brought
    (selector,) = {w for words in cluster.calls("get") for w in words if "--selector" in w}
    rank = f",{INDEX}=0" if "pods" in answers(cluster.root)["workloads"][0] else ""
    assert selector == f"--selector=remora={name}{rank}"
    cluster.said("down", name)
    assert len([w for words in cluster.calls("delete") for w in words if "/" in w]) == len(applied)


def test_an_overlay_makes_all_workloads_debuggable(template: Path, tmp_path: Path) -> None:
    root = render(template, write(tmp_path, REPOSITORIES["overlays"][0]))
    built = {each["metadata"]["name"]: each for each in kustomize(root / "deploy/debug")}
    debugged = {name for name, each in built.items() if "REMORA_MODE" in str(each)}
    assert debugged == {f"dev-{name}" for name in ALL_FOUND}
    assert built["dev-web"]["metadata"]["namespace"] == "shop"


def test_a_name_that_yaml_would_read_as_a_number_is_quoted(template: Path, tmp_path: Path) -> None:
    game = workload("Deployment", "2048", pods("2048"))
    compose = {"compose.yaml": 'services:\n  "2048":\n    build: .\n'}
    root = render(template, write(tmp_path, {**base("k8s", game), **compose}))
    (built,) = (each for each in kustomize(root / "deploy/debug") if each["kind"] == "Deployment")
    (container,) = built["spec"]["template"]["spec"]["containers"]
    assert environment(container)["REMORA_ADDRESS"] == "2048 at 127.0.0.1:5678"


LEFT_OUT = {
    "Ingress": "networking.k8s.io/v1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    # This would send the requests of all namespaces to the debugged program.
    "MutatingWebhookConfiguration": "admissionregistration.k8s.io/v1",
    "ValidatingWebhookConfiguration": "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding": "admissionregistration.k8s.io/v1",
    "APIService": "apiregistration.k8s.io/v1",
    "RuntimeClass": "node.k8s.io/v1",
    # Few clusters for development have the definitions of these.
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
}


def test_what_concerns_more_than_the_namespace_is_left_out(template: Path, tmp_path: Path) -> None:
    others = [
        {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}}
        for kind, version in LEFT_OUT.items()
    ]
    files = folder("k8s", WEB, SERVICE, NAMESPACE, *others)
    cluster = FakeCluster(tmp_path / "cluster", render(template, write(tmp_path / "shop", files)))
    cluster.be(pods=STARTED.replace("train", "web"))
    cluster.said("up", "web")
    manifest = (cluster.root / "deploy/.session/web/manifest.yaml").read_text()
    assert {e["kind"] for e in yaml.safe_load_all(manifest)} == {"Deployment", "Service"}
    cluster.said("down", "web")


def test_configuration_of_tools_is_not_a_manifest(template: Path, tmp_path: Path) -> None:
    """Kustomize would reject all manifests because of it: it has no metadata.name."""
    skaffold = "apiVersion: skaffold/v4beta11\nkind: Config\nbuild: {artifacts: [{image: shop}]}\n"
    kind = "apiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster\nname: dev\n"
    files = {"k8s/skaffold.yaml": skaffold, "k8s/kind.yaml": kind, **folder("k8s", WEB)}
    cluster = FakeCluster(tmp_path / "cluster", render(template, write(tmp_path / "shop", files)))
    assert answers(cluster.root)["manifests"] == ["k8s/web-deployment.yaml"]
    cluster.be(pods=STARTED.replace("train", "web"))
    cluster.said("up", "web")
    cluster.said("down", "web")


# ---- Ranks ----


@pytest.fixture(scope="module")
def in_ranks(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ranks") / "shop"
    return render(template, write(root, REPOSITORIES["ranks"][0]))


@pytest.fixture
def ranked(in_ranks: Path, tmp_path: Path) -> Iterator[FakeCluster]:
    cluster = FakeCluster(tmp_path / "cluster", shutil.copytree(in_ranks, tmp_path / "shop"))
    yield cluster
    for session in (cluster.root / "deploy/.session").glob("[!.]*"):
        cluster.run("down", session.name)
    wait_until(lambda: cluster.forwards() == [])


@pytest.mark.parametrize(
    ("name", "rank", "selected"),
    [
        ("fit", "", f",{INDEX}=0"),
        ("fit", "9", f",{INDEX}=1"),
        ("fit", "31", f",{INDEX}=3"),
        ("pair", "1", ""),
        ("group-nodes", "2", f",{INDEX}=2"),
        ("tune-master", "3", ""),
        # The master has the first four ranks.
        ("tune-worker", "", f",{REPLICA}=0"),
        ("tune-worker", "15", f",{REPLICA}=2"),
    ],
)
def test_a_rank_is_held_and_its_pod_attached_to(
    ranked: FakeCluster, name: str, rank: str, selected: str
) -> None:
    ranked.be(pods=STARTED.replace("train", name))
    ranked.said("up", name, REMORA_RANK=rank)
    text = (ranked.root / f"deploy/.session/{name}/manifest.yaml").read_text()
    assert text.count("name: REMORA_RANK") == 1
    expected = rank or {"fit": "0", "tune-worker": "4"}[name]
    assert f'name: REMORA_RANK\n          value: "{expected}"' in re.sub("  +", 10 * " ", text)
    ranked.said("attach", name, REMORA_RANK=rank)
    selectors = {w for words in ranked.calls("get") for w in words if "--selector" in w}
    assert selectors == {f"--selector=remora={name}{selected}"}


@pytest.mark.parametrize(
    ("name", "rank", "first", "last"),
    [("fit", "32", 0, 31), ("fit", "08", 0, 31), ("pair", "2", 0, 1), ("tune-worker", "3", 4, 15)],
)
def test_a_rank_that_is_not_there_is_refused(
    ranked: FakeCluster, name: str, rank: str, first: int, last: int
) -> None:
    done = ranked.run("up", name, REMORA_RANK=rank)
    assert done.returncode == 1 and not ranked.calls("apply")
    said = f"REMORA_RANK must be the number of a rank, from {first} to {last}, not {rank}"
    assert said in done.stdout


def test_what_has_no_ranks_ignores_one(ranked: FakeCluster) -> None:
    ranked.be(pods=STARTED.replace("train", "group-twice"))
    ranked.said("up", "group-twice", REMORA_RANK="7")
    text = (ranked.root / "deploy/.session/group-twice/manifest.yaml").read_text()
    assert "REMORA_RANK" not in text and "REMORA_MODE" in text


# ---- Helm ----


CHART = {
    "charts/shop/Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
    "charts/shop/templates/web.yaml": "kind: Deployment\nmetadata: {name: {{ .Release.Name }}}\n",
}


def test_a_chart_is_changed_as_helm_installs_it(template: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "shop", CHART)
    data: dict[str, Any] = {"workloads": [{"name": "web", "workload": "green-web"}]}
    cluster = FakeCluster(tmp_path / "cluster", render(template, root, **data))
    assert answers(root)["manifests"] == ["charts/shop/Chart.yaml"]
    installed = yaml.safe_load(yaml.safe_dump(WEB).replace("name: web", "name: green-web", 1))
    installed["metadata"]["name"] = "green-web"
    installed["spec"]["template"]["spec"]["containers"][0]["name"] = "web"
    text = yaml.safe_dump_all([SERVICE, installed])
    # Helm 4 runs the command of its plugin, from the user's current folder.
    plugin = yaml.safe_load((root / "deploy/debug/helm/plugin.yaml").read_text())
    (command,) = plugin["runtimeConfig"]["platformCommand"]
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/remora").symlink_to(root / "deploy/debug/helm")
    arguments = [
        word.replace("${HELM_PLUGIN_DIR}", str(tmp_path / "plugins/remora"))
        for word in command["args"]
    ]
    assert (plugin["type"], command["command"], arguments[1:]) == (
        "postrenderer/v1",
        "sh",
        ["render"],
    )
    done = cluster.render(text, "web", script=["sh", arguments[0]])
    assert done.returncode == 0, done.stderr
    (web,) = (e for e in yaml.safe_load_all(done.stdout) if e["kind"] == "Deployment")
    assert "REMORA_MODE" in str(web)
    # The script itself cannot install a chart.
    said = cluster.run("up", "web").stdout.splitlines()[-1]
    assert said.startswith("debug.sh: charts/shop is a Helm chart: use deploy/debug.sh render web")


@pytest.mark.parametrize(
    ("is_there", "mode", "is_rendered", "kind"),
    [
        (False, "wait", False, "emptyDir"),
        (False, "dump", True, "persistentVolumeClaim"),
        # Helm would refuse to create a claim that exists already.
        (True, "dump", False, "persistentVolumeClaim"),
        (True, "wait", False, "persistentVolumeClaim"),
    ],
)
def test_dumps_of_what_helm_installs_are_kept(
    template: Path, tmp_path: Path, is_there: bool, mode: str, is_rendered: bool, kind: str
) -> None:
    root = render(template, write(tmp_path / "shop", CHART), workloads=[{"name": "web"}])
    cluster = FakeCluster(tmp_path / "cluster", root)
    cluster.be(dumps=is_there)
    done = cluster.render(yaml.safe_dump(WEB), "web", mode)
    assert done.returncode == 0, done.stderr
    found = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    claim = found.pop("PersistentVolumeClaim", None)
    (volume,) = found["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert volume["name"] == "remora-dumps" and kind in volume
    assert (claim is not None) == is_rendered
    if claim:
        kubernetes_validate.validate(claim, "1.25", strict=True)
        assert claim["metadata"]["name"] == volume[kind]["claimName"]
        # debug.sh looks for the claim there, and the next upgrade keeps the claim.
        assert claim["metadata"]["namespace"] == "team"
        assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


# ---- Failures ----


def test_a_workload_that_is_gone_is_named_and_found_again(template: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "shop", folder("k8s", WEB, WORKER))
    render(template, root)
    commit(root)
    cluster = FakeCluster(tmp_path / "cluster", root)
    for change in ("gone", "other container"):
        changed = copy.deepcopy(WEB)
        if change == "gone":
            changed["metadata"]["name"] = "site"
        else:
            changed["spec"]["template"]["spec"]["containers"][0]["name"] = "site"
        (root / "k8s/web-deployment.yaml").write_text(yaml.safe_dump(changed))
        done = cluster.run("up", "web")
        (said,) = (line for line in done.stdout.splitlines() if line.startswith("debug.sh: "))
        why = "nothing selected by Deployment" if change == "gone" else "testing value /spec/"
        lead = f"debug.sh: the debugger cannot be added to web ({why}"
        assert said.startswith(lead)
        name, container = ("site", "web") if change == "gone" else ("web", "site")
        there = f"Deployment {name} (containers: {container})"
        rest = "StatefulSet worker (containers: nginx main)"
        assert f"). The manifests have {there}, {rest}: run " in said
        assert said.endswith("or else with --data refresh=true")
        assert not cluster.calls("apply")
    commit(root)
    update(root, "--vcs-ref=:current:", "--data", "refresh=true")
    assert answers(root)["workloads"][0]["container"] == "site"
    cluster.be(pods=STARTED.replace("train", "web"))
    cluster.said("up", "web")
    cluster.said("down", "web")


def test_a_workload_that_was_named_wrongly_is_named_again(template: Path, tmp_path: Path) -> None:
    files = {"k8s/all.yaml": yaml.safe_dump_all([SERVICE, REPORT, WORKER])}
    root = write(tmp_path / "shop", files)
    render(template, root, workloads=[{"name": "worker"}])
    commit(root)
    cluster = FakeCluster(tmp_path / "cluster", root)
    said = cluster.run("up", "worker").stdout
    there = "CronJob report (containers: report), StatefulSet worker (containers: nginx main)"
    assert f"The manifests have {there}: run " in said
    right = "workloads=[{name: worker, kind: StatefulSet, container: main, index: 1}]"
    update(root, "--vcs-ref=:current:", "--data", right)
    cluster.be(pods=STARTED.replace("train", "worker"))
    cluster.said("up", "worker")
    cluster.said("down", "worker")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ("{name: a, name: b}", 'mapping key "name" already defined'),
        ("{generateName: a-}", "missing metadata.name in object"),
    ],
)
def test_manifests_that_kustomize_rejects_are_reported(
    template: Path, tmp_path: Path, metadata: str, reason: str
) -> None:
    text = f"{yaml.safe_dump(WEB)}---\napiVersion: v1\nkind: Pod\nmetadata: {metadata}\n"
    root = render(
        template, write(tmp_path / "shop", {"k8s/all.yaml": text}), workloads=[{"name": "web"}]
    )
    said = FakeCluster(tmp_path / "cluster", root).run("up", "web").stdout.splitlines()[-1]
    assert said.startswith("debug.sh: Kustomize cannot read the application's own manifests (")
    assert reason in said and said.endswith("): correct them")


def test_a_kind_that_the_cluster_lacks_is_named(template: Path, tmp_path: Path) -> None:
    root = render(template, write(tmp_path / "shop", folder("k8s", WEB)))
    cluster = FakeCluster(tmp_path / "cluster", root)
    error = 'no matches for kind "Certificate" in version "cert-manager.io/v1"'
    cluster.be(
        unknown=f'error: resource mapping not found for name: "a" namespace: "" from "x": {error}\n'
        "ensure CRDs are installed first"
    )
    said = cluster.run("up", "web").stdout.splitlines()[-1]
    lead = f"debug.sh: kind-dev cannot have all objects of the manifests ({error}): install its"
    assert said.startswith(lead)


def test_an_update_keeps_what_was_found(template: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "shop", folder("k8s", *ALL))
    render(template, root)
    before = contents(root)
    commit(root)
    update(root, "--vcs-ref=:current:")
    assert contents(root) == before


def test_a_cluster_is_added_and_dropped_later(template: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "shop", folder("k8s", WEB))
    render(template, root, engines=["compose"])
    assert not (root / "deploy").exists() and answers(root)["workloads"] == []
    before = contents(root)
    commit(root)
    update(root, "--vcs-ref=:current:", "--data=engines=[compose, kubernetes]")
    assert answers(root)["workloads"] == [{"name": "web", "kind": "Deployment"}]
    commit(root)
    drop = ("--vcs-ref=:current:", "--data=engines=[compose]")
    refused = update(root, *drop, check=False).stderr
    assert "remove the files of kubernetes first" in refused
    shutil.rmtree(root / "deploy")
    commit(root)
    update(root, *drop)
    after, answers_file = contents(root), Path(".copier-answers.yml")
    del after[answers_file], before[answers_file]
    assert after == before


def test_each_file_that_dropping_a_cluster_would_delete_is_named(
    template: Path, tmp_path: Path
) -> None:
    root = write(tmp_path / "shop", {"chart/Chart.yaml": "name: shop\n"})
    chart: dict[str, Any] = {"manifests": ["chart/Chart.yaml"], "workloads": [{"name": "web"}]}
    render(template, root, engines=["compose", "kubernetes"], **chart)
    commit(root)
    done = update(root, "--vcs-ref=:current:", "--data=engines=[compose]", check=False)
    (patterns,) = re.findall("`git rm (.*?)`", done.stderr)
    git(root, "rm", "--quiet", *patterns.split())
    assert [path for path in (root / "deploy").rglob("*") if path.is_file()] == []


METRICS = workload("Deployment", "metrics", pods("metrics"))
OTHER_FOLDERS: dict[str, tuple[dict[str, str], list[str]]] = {
    "a longer name": (folder("k8s-specifications", WEB), ["web-deployment.yaml"]),
    "below another folder": (folder("infra/kubernetes-manifests", WEB), ["web-deployment.yaml"]),
    "workloads in folders below": (
        {"k8s/secrets.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"}
        | folder("k8s/web", WEB, SERVICE),
        ["secrets.yaml", "web-deployment.yaml", "web-service.yaml"],
    ),
    "extras in folders below": (
        {**folder("k8s", WEB), **folder("k8s/extras", QUEUE)},
        ["web-deployment.yaml"],
    ),
    "beside the Dockerfile": (
        {**folder(".", WEB, SERVICE), "mkdocs.yml": "a: !b c\n", "catalog-info.yaml": "kind: X"},
        ["web-deployment.yaml", "web-service.yaml"],
    ),
    "an example beside it": (
        {**folder("examples/k8s", QUEUE), **folder("docs/k8s", QUEUE), **folder("deploy", WEB)},
        ["web-deployment.yaml"],
    ),
    "definitions of an operator beside it": (
        {**base("a/crd", QUEUE), **base("deploy/app", WEB)},
        ["kustomization.yaml"],
    ),
    "several Kustomizations, one of them with the name of a service": (
        {**base("deploy/k8s/apps/a", QUEUE), **base("deploy/k8s/apps/web", WEB)},
        ["kustomization.yaml"],
    ),
}


@pytest.mark.parametrize("name", OTHER_FOLDERS)
def test_manifests_are_found_in_other_folders(template: Path, tmp_path: Path, name: str) -> None:
    files, found = OTHER_FOLDERS[name]
    root = render(template, write(tmp_path, files))
    assert [Path(path).name for path in answers(root)["manifests"]] == found
    assert answers(root)["workloads"] == [{"name": "web", "kind": "Deployment"}]


def test_manifests_that_were_not_read_are_named(template: Path, tmp_path: Path) -> None:
    """Their workloads are then named beside those that were found."""
    files = {"k8s/web.yaml": yaml.safe_dump_all([WEB, SERVICE]), **folder("k8s", REPORT)}
    files["k8s/report-cronjob.yaml"] = files["k8s/report-cronjob.yaml"].replace(IMAGE, "x/web")
    root = write(tmp_path / "shop", files)
    said = copy_without_questions(template, root).stderr
    assert "Copier could not read k8s/web.yaml, because of several documents" in said
    (command,) = re.findall("    (copier update .*)", said)
    before = answers(root)["workloads"]
    assert [each["name"] for each in before] == ["report"]
    commit(root)
    named = shlex.split(command.replace("{name: NAME, container: CONTAINER}", "{name: web}"))
    update(root, *named[3:])
    assert answers(root)["workloads"] == [*before, {"name": "web"}]


def test_manifests_beyond_those_that_copier_reads_are_named(template: Path, tmp_path: Path) -> None:
    files = {f"k8s/a{number:02}.yaml": yaml.safe_dump(SERVICE) for number in range(14)}
    files |= {"k8s/web.yaml": yaml.safe_dump(WEB), "k8s/xa.yaml": "", "k8s/xb.yaml": ""}
    said = copy_without_questions(template, write(tmp_path / "shop", files)).stderr
    assert "Copier reads 16 files of manifests, and has not read 1 more, such as k8s/xb" in said
    assert "could not read" not in said


def test_workload_beside_rights_of_several_documents_is_found(
    template: Path, tmp_path: Path
) -> None:
    files = {"k8s/20-rbac.yaml": yaml.safe_dump_all([SERVICE, NAMESPACE])}
    files["k8s/metrics.yaml"] = yaml.safe_dump(METRICS).replace(IMAGE, "ghcr.io/acme/other:1")
    root = render(template, write(tmp_path / "shop", {**ALONE, **files}))
    assert [each["name"] for each in answers(root)["workloads"]] == ["metrics"]


def test_plain_manifests_for_production_are_left_out(template: Path, tmp_path: Path) -> None:
    files = {**folder("k8s/app", WEB), **folder("k8s/production", WEB)}
    root = render(template, write(tmp_path, files))
    assert answers(root)["manifests"] == ["k8s/app/web-deployment.yaml"]


ODD = {
    "empty.yaml": "",
    "text.yaml": "just words",
    "list.yaml": "[1, 2]",
    "no-kind.yaml": "apiVersion: v1\n",
    "kind.yaml": "apiVersion: v1\nkind: [Deployment]\n",
    "bare.yaml": "apiVersion: apps/v1\nkind: Deployment\n",
    "types.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: [1]\nspec: 5\n",
    "name.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: 'a b$(id)'}\nspec: {}\n",
    "items.yaml": "apiVersion: v1\nkind: List\nitems: {a: 1}\n",
    "jobset.yaml": "apiVersion: x/v1\nkind: JobSet\nmetadata: {name: x}\n"
    "spec: {replicatedJobs: [1, {name: 2}]}\n",
    "torch.yaml": "apiVersion: x/v1\nkind: PyTorchJob\nmetadata: {name: y}\n"
    "spec: {pytorchReplicaSpecs: [1]}\n",
    "containers.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: z}\n"
    "spec: {template: {spec: {containers: [1, {name: 5, image: 6}, {name: x}]}}}\n",
}


def test_odd_manifests_do_no_harm(template: Path, tmp_path: Path) -> None:
    files = {f"k8s/{name}": text for name, text in ODD.items()}
    exported = yaml.safe_dump(WEB).replace(
        "metadata:", "metadata:\n  creationTimestamp: 2026-01-02T03:04:05Z", 1
    )
    assert "creationTimestamp" in exported
    root = render(template, write(tmp_path, {**files, "k8s/web.yaml": exported}))
    assert answers(root)["workloads"] == [{"name": "web", "kind": "Deployment"}]
    for name, text in ODD.items():
        assert (root / "k8s" / name).read_text() == text


OTHER = workload("Job", "web", pods("web"))
ELSEWHERE = copy.deepcopy(WEB)
ELSEWHERE["metadata"]["namespace"] = "blue"
NAMELESS = copy.deepcopy(MIGRATE)
NAMELESS["metadata"] = {"generateName": "migrate-"}
REFUSED = {
    "two kinds": (
        folder("k8s", WEB, OTHER),
        [],
        "workloads: web is the name of several workloads, of different kinds or in different"
        " namespaces",
    ),
    "two namespaces": (
        {**folder("k8s", WEB), "k8s/blue.yaml": yaml.safe_dump(ELSEWHERE)},
        [],
        "workloads: web is the name of several workloads, of different kinds or in different"
        " namespaces",
    ),
    "documents": (
        {"k8s/all.yaml": yaml.safe_dump_all([WEB, SERVICE])},
        ["engines=[compose, kubernetes]"],
        "workloads: k8s/all.yaml cannot be read here, because of several documents",
    ),
    "documents beside another program": (
        {
            "k8s/all.yaml": yaml.safe_dump_all([WEB, SERVICE]),
            "k8s/metrics.yaml": yaml.safe_dump(METRICS),
        },
        ["engines=[compose, kubernetes]"],
        "workloads: k8s/all.yaml cannot be read here, because of several documents, Helm's braces,"
        " YAML tags or tabs. The other files have Deployment metrics (container metrics). Name the",
    ),
    "chart": (
        CHART,
        ["engines=[compose, kubernetes]"],
        "workloads: charts/shop is a Helm chart, whose templates are not YAML: name its workloads",
    ),
    "generateName": (
        {"k8s/job.yaml": yaml.safe_dump(NAMELESS)},
        ["engines=[compose, kubernetes]"],
        "workloads: k8s/job.yaml has a workload without a name, perhaps with generateName",
    ),
    "no Python": (
        folder("k8s", QUEUE),
        ["engines=[compose, kubernetes]"],
        "workloads: none of the workloads of k8s/queue-deployment.yaml runs an image of web or",
    ),
    "nothing": (
        {},
        ["engines=[compose, kubernetes]"],
        "workloads: found no kustomization.yaml, no Chart.yaml, and no manifests for Kubernetes in"
        " k8s, .k8s, kubernetes, kube, manifests, *k8*, *kube*, *manifest*, */*k8*, */*kube*,"
        " */*manifest*, deploy, deployment or deployments. Name them with --data"
        " 'manifests=[path/to/kustomization.yaml]",
    ),
    "own script": (
        {**folder("k8s", WEB), "deploy/debug.sh": "#!/bin/sh\n"},
        [],
        "deploy/debug.sh exists already: rename it",
    ),
    "not a list": ({}, ["workloads=web"], "workloads: must be a list of workloads, such as"),
    "unknown key": ({}, ["workloads=[{name: a, x: 1}]"], "workloads: must be a list of workloads"),
    "twice": (
        {},
        ["workloads=[{name: a}, {name: a}]"],
        "workloads: must give each workload its own",
    ),
    "bad name": ({}, ["workloads=[{name: a b}]"], "workloads: a b is not a valid name in"),
    "other kind": (
        {},
        ["workloads=[{name: a, kind: Workflow}]"],
        "workloads: a is a Workflow: add the path of its pod template, such as path:",
    ),
    "bad path": (
        {},
        ["workloads=[{name: a, path: /spec}]"],
        "workloads: path must be a path such as",
    ),
    "bad index": ({}, ["workloads=[{name: a, index: x}]"], "workloads: index must be the position"),
    "bad ranks": ({}, ["workloads=[{name: a, pods: x}]"], "workloads: pods and ranks_per_pod of a"),
    "no service": (
        {},
        ["workloads=[{name: a, service: queue}]"],
        "workloads: queue is not one of debug_services, which are web, worker",
    ),
    "a folder of manifests": (
        folder("docs", WEB, SERVICE),
        ["manifests=[docs]"],
        "manifests: docs is not a file in this folder: name its files, [docs/web-deployment.yaml,"
        " docs/web-service.yaml]",
    ),
    "other manifests": (
        {
            "deploy/dev/kustomization.yaml": "resources: [all.yaml]\n",
            "deploy/dev/all.yaml": yaml.safe_dump_all([WEB, SERVICE]),
            **folder("k8s", QUEUE, SERVICE),
            **CHART,
        },
        ["engines=[compose, kubernetes]"],
        "workloads: deploy/dev/all.yaml cannot be read here, because of several documents, Helm's"
        " braces, YAML tags or tabs. Name the workloads that run Python: --data 'workloads=[{name:"
        " NAME, kind: Deployment, container: CONTAINER, service: IMAGE}]', where IMAGE is web or"
        " worker. See the names with: grep -E '(kind|name|image): ' deploy/dev/all.yaml. Or name"
        " other manifests, such as --data 'manifests=[k8s/queue-deployment.yaml,"
        " k8s/web-service.yaml]'; there is also charts/shop/Chart.yaml",
    ),
    "bad manifests": ({}, ["manifests=k8s"], "manifests: must be a list of paths, such as"),
    "outside": ({}, ["manifests=[../x.yaml]"], "manifests: must be paths below this folder"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_adopted_is_reported_in_one_line(
    template: Path, tmp_path: Path, name: str
) -> None:
    assert_refused(template, tmp_path / "shop", *REFUSED[name])


@pytest.mark.parametrize(
    "name", ["documents", "documents beside another program", "chart", "no Python"]
)
def test_compose_is_adopted_without_the_cluster(template: Path, tmp_path: Path, name: str) -> None:
    files, _, message = REFUSED[name]
    root = write(tmp_path / "shop", files)
    done = copy_without_questions(template, root)
    assert done.returncode == 0 and not (root / "deploy").exists()
    assert answers(root)["engines"] == ["compose"]
    said = re.sub(r"\s+", " ", done.stderr)
    assert message.removeprefix("workloads: ") in said
