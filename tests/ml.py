"""Real libraries that handle exceptions in ways of their own, in containers: nox -s ml

torch is large, so these tests have a session of their own. test_dump.py and test_crash.py test each
mechanism with a stand-in.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.project import Project, copy, line, marked, remora, wait_until
from support.rendering import replace

WORK = """
import sys

def work(a):
    b = a + 1
    raise ValueError(b)  # here

"""
# What pip installs into the image, beside the wheel of torch
LIBRARIES = (
    "accelerate celery hydra-core joblib lightning numpy pandas pillow polars pytest ray rich"
    " sentry-sdk typer"
)

RANKS = """
import time
import torch.distributed
torch.distributed.init_process_group("gloo")
torch.distributed.barrier()
if torch.distributed.get_rank() == 1 or sys.argv[1:]:
    work(1)
time.sleep(600)
"""
TORCHRUN = "torchrun --standalone --nproc-per-node 2 src/program.py"
# For each library, a program that uses it, and the command that runs the program
PROGRAMS = {
    "torchrun": (RANKS, TORCHRUN),
    "spawn of torch": (
        """
import torch.multiprocessing

def run(rank):
    work(1)

if __name__ == "__main__":
    torch.multiprocessing.spawn(run, nprocs=1)
""",
        "python src/program.py",
    ),
    "DataLoader": (
        """
import torch
from torch.utils.data import DataLoader, Dataset

class Numbers(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, n):
        if n == 3:
            work(1)
        return torch.zeros(2)

if __name__ == "__main__":
    for batch in DataLoader(Numbers(), num_workers=2):
        pass
""",
        "python src/program.py",
    ),
    "hydra": (
        """
import hydra

@hydra.main(version_base=None, config_path=None)
def main(config):
    work(1)

main()
""",
        "cd /tmp && python /app/src/program.py hydra.run.dir=/tmp/run hydra.output_subdir=null",
    ),
    "processes of concurrent.futures": (
        """
import concurrent.futures, multiprocessing

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        pool.submit(work, 1).result()
""",
        "python src/program.py",
    ),
    "joblib": (
        """
import joblib

if __name__ == "__main__":
    import program  # joblib sends functions of __main__ without the name of their file

    joblib.Parallel(n_jobs=2)(joblib.delayed(program.work)(n) for n in [1])
""",
        "python src/program.py",
    ),
    "accelerate": (
        "import accelerate\n\naccelerate.Accelerator(cpu=True)\nwork(1)\n",
        "accelerate launch --cpu --num_processes 1 --num_machines 1 --mixed_precision no"
        " --dynamo_backend no src/program.py",
    ),
    "lightning": (
        """
import lightning, torch

class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, n):
        work(1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters())

if __name__ == "__main__":
    data = torch.utils.data.DataLoader(torch.zeros(8, 2))
    options = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar"], False)
    lightning.Trainer(max_epochs=1, accelerator="cpu", devices=1, **options).fit(Model(), data)
""",
        "python src/program.py",
    ),
    "rich": ("from rich.traceback import install\ninstall()\nwork(1)\n", "python src/program.py"),
    "click": (
        "import click\n\n@click.command()\ndef main():\n    work(1)\n\nmain()\n",
        "python src/program.py",
    ),
    "typer": (
        "import typer\n\ndef main():\n    work(1)\n\ntyper.run(main)\n",
        "python src/program.py",
    ),
    "sentry": (
        """
import sentry_sdk
sentry_sdk.init(transport=lambda event: None, dsn="http://key@127.0.0.1:9/1")
work(1)
""",
        "python src/program.py",
    ),
    "sentry in a process": (
        """
import multiprocessing
import sentry_sdk

sentry_sdk.init(transport=lambda event: None, dsn="http://key@127.0.0.1:9/1")
if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=work, args=[1])
    process.start()
    process.join()
    sys.exit(process.exitcode)
""",
        "python src/program.py",
    ),
    "celery": (
        """
import celery
from celery.contrib.testing.worker import start_worker

app = celery.Celery("program", broker="memory://", backend="cache+memory://")

@app.task
def task():
    work(1)

if __name__ == "__main__":
    with start_worker(app, perform_ping_check=False, loglevel="CRITICAL"):
        print(type(task.delay().get(timeout=60, propagate=False)))
""",
        "python src/program.py",
    ),
    "processes of celery": (
        """
import os, signal, threading
import celery

names = ["data_folder_in", "data_folder_out", "control_folder"]
folders = dict.fromkeys(names, "/tmp/queue")
app = celery.Celery("program", broker="filesystem://", broker_transport_options=folders)
app.conf.result_backend = "file:///tmp/results"

@app.task
def task():
    work(1)

def ask():
    error = task.delay().get(timeout=60, propagate=False)
    print(type(error), file=sys.__stdout__, flush=True)  # Celery replaces sys.stdout
    os.kill(os.getpid(), signal.SIGTERM)

if __name__ == "__main__":
    os.mkdir("/tmp/queue")
    os.mkdir("/tmp/results")
    threading.Thread(target=ask).start()
    app.worker_main("worker --pool prefork --concurrency 2 --loglevel CRITICAL".split())
""",
        "python src/program.py",
    ),
    "ray": (
        """
import ray

@ray.remote
def task():
    work(1)

quiet = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
ray.init(num_cpus=1, object_store_memory=10**8, logging_level="ERROR", **quiet)
try:
    ray.get(task.remote())
except ValueError as error:
    print(type(error))
ray.shutdown()
""",
        "python src/program.py",
    ),
    "pytest": (
        "def test_work():\n    work(1)\n",
        "python -m pytest -q -p no:cacheprovider --color=no src/program.py",
    ),
}
# In these, something else continues after the crash. REMORA_TARGET keeps them, by these names.
HANDED_ON = {
    **dict.fromkeys(["DataLoader", "celery", "processes of celery", "pytest"], "*program.py*"),
    "joblib": "*popen_loky_posix*",
    "ray": "*default_worker.py*",
    "processes of concurrent.futures": "*spawn_main*",
}


@pytest.fixture(scope="session")
def with_libraries(build) -> Project:
    """A project whose image contains the libraries."""

    def prepare(root: Path) -> None:
        (wheel,) = Path(os.environ["WHEELS"]).glob("torch-*.whl")
        (root / "wheels").mkdir()
        shutil.copy(wheel, root / "wheels")
        uv = "--mount=type=bind,from=uv,source=/uv/bin/uv,target=/usr/local/bin/uv"
        wheels = "--mount=type=bind,source=wheels,target=/wheels"
        install = f"uv pip install --no-cache /wheels/{wheel.name} {LIBRARIES}"
        end = "\n\n\n# ---- Production"
        replace(root / "Dockerfile", end, f"\nRUN {uv} {wheels} {install}{end}")
        replace(root / ".dockerignore", "!src\n", "!src\n!wheels\n")

    return build(prepare, python_version="3.11")


@pytest.fixture
def project(with_libraries: Project, tmp_path: Path) -> Iterator[Project]:
    project = copy(with_libraries, tmp_path)
    yield project
    project.down()


def start(project: Project, name: str, mode: str, arguments: str = "", **settings: str) -> Path:
    """Run the program of a library."""
    code, command = PROGRAMS[name]
    project.override("settings.yml", environment={"HOME": "/tmp", **settings})
    return project.start(WORK + code, command + arguments, REMORA_MODE=mode)


# Text that differs in each run: times, addresses, pids, the names of containers
CHANGING = [
    r"\d{4}-\d\d-\d\d.|\d+:\d+:\d+(\.\d+)?|\b[EIW]\d{4}\b|\d+\.\d+s",
    r"(?<=… )\d+(?= torch/)",
    r"0x\w+|\b[0-9a-f]{12}\b",
    r"(?<=process )\d+|(?<=pid: )\d+|(?<=by PID )\d+",
]


def printed(project: Project) -> list[str]:
    """What the program has printed, without the text that differs in each run."""
    found = []
    for text in project.output():
        for what in CHANGING:
            text = re.sub(what, "…", text)
        found.append(text)
    return sorted(found)


def dumps(project: Project) -> list[dict[str, Any]]:
    """The dumps that the service's container has written."""
    folder = project.root / "crashes"
    project.compose("cp", f"{project.service}:/var/lib/remora/dumps", str(folder))
    return [json.loads(gzip.decompress(path.read_bytes())) for path in sorted(folder.iterdir())]


def innermost(found: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    """The frames of the user's file in which dumps have crashed."""
    tops = [one["threads"][0]["frames"] for one in found if one["exceptions"]]
    own = [next((f for f in frames if f["file"] == path), None) for frames in tops]
    return [frame for frame in own if frame and frame["function"] == "work"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_crash_is_dumped_and_kept(project: Project, name: str) -> None:
    path = start(project, name, "off")
    code, output = project.exit_code(), printed(project)
    assert any("ValueError" in text for text in output), output

    project.compose("rm", "--force", "--stop", "train")
    start(project, name, "dump")
    assert (project.exit_code(), printed(project)) == (code, output)
    frames = innermost(dumps(project), "/app/src/program.py")
    assert [frame["line"] for frame in frames] == [marked(path)]
    assert ["b", "int", "2"] in frames[0]["locals"]

    project.compose("rm", "--force", "--stop", "train")
    target = {"REMORA_TARGET": HANDED_ON[name]} if name in HANDED_ON else {}
    start(project, name, "crash", **target)
    wait_until(lambda: is_kept(project, name))
    stop = project.attach().stopped()
    assert (stop.reason, stop.path, stop.line) == ("exception", path, marked(path))
    assert (stop.function, stop.locals["b"]) == ("work", "2")
    project.editors.pop().resume(stop)
    # The process that has started a rank or a worker may then raise an exception of its own.
    wait_until(lambda: remora(project, "let-go", check=False).returncode == 0 or not runs(project))
    assert (project.exit_code(), printed(project)) == (code, output)


def is_kept(project: Project, name: str) -> bool:
    if name == "ray":  # whose workers print to files
        return "kept until" in remora(project, "status", check=False).stdout
    return "Waiting for client to attach..." in project.log()


def runs(project: Project) -> bool:
    return bool(project.compose("ps", "--quiet", "train").stdout.strip())


def test_one_rank_of_torchrun_is_kept(project: Project) -> None:
    path = start(project, "torchrun", "crash", " all")
    wait_until(lambda: "is not kept: REMORA_KEEP is 1" in project.log())
    assert "[rank0]: ValueError: 2" in project.log() and "[rank1]: ValueError: 2" in project.log()
    stop = project.attach().stopped()
    assert (stop.path, stop.line, stop.locals["b"]) == (path, marked(path), "2")
    project.editors[-1].resume(stop)
    assert project.exit_code() == 1
    assert "Root Cause (first observed failure):" in project.log()


def test_ranks_are_dumped_before_the_container_is_stopped(project: Project) -> None:
    code = RANKS.replace("work(1)", "pass").replace("time.sleep", "print('here');time.sleep")
    project.override("settings.yml", environment={"REMORA_DUMP_ON": "term"})
    path = project.start(WORK + code, TORCHRUN, REMORA_MODE="dump")
    wait_until(lambda: project.log().count("here") == 2)
    project.compose("stop")
    outermost = [one["threads"][0]["frames"][-1] for one in dumps(project)]
    lines = [frame["line"] for frame in outermost if frame["file"] == "/app/src/program.py"]
    assert lines == [line(path, "print('here')")] * 2


VALUES = """
import numpy, pandas, polars, torch
from PIL import Image

def work():
    grad = torch.ones(3, 4, requires_grad=True)
    strange = torch.tensor([1.0, float("nan"), float("inf"), 3.0])
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    meta = torch.empty(10**12, device="meta")
    half = torch.full((5,), 2, dtype=torch.bfloat16)
    sparse = torch.eye(3).to_sparse()
    none = torch.empty(0)
    tiny = torch.zeros(3).to(torch.float8_e4m3fn)
    wide = torch.zeros(3, dtype=torch.uint64)
    flags = torch.tensor([True, False])
    waves = torch.zeros(2, dtype=torch.complex64)
    folded = torch.zeros(4, 4).t()[::2]
    many = [torch.zeros(1000, 1000) for _ in range(100)]
    array = numpy.arange(6).reshape(2, 3)
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None]})
    series = frame["a"]
    table = polars.DataFrame({"a": [1, 2]})
    column = table["a"]
    lazy = table.lazy()
    image = Image.new("RGB", (40, 30))
    raise ValueError

work()
"""
TEXTS = {
    "grad": "Tensor float32[3, 4] on cpu requires_grad min 1, max 1, mean 1",
    "strange": "Tensor float32[4] on cpu NaN 1, Inf 1 min 1, max 3, mean 2",
    "meta": "Tensor float32[1000000000000] on meta",
    "half": "Tensor bfloat16[5] on cpu min 2, max 2, mean 2",
    "sparse": "Tensor float32[3, 3] on cpu",
    "none": "Tensor float32[0] on cpu",
    "tiny": "Tensor float8_e4m3fn[3] on cpu",
    "wide": "Tensor uint64[3] on cpu",
    "flags": "Tensor bool[2] on cpu",
    "waves": "Tensor complex64[2] on cpu",
    "folded": "Tensor float32[2, 4] on cpu",
    "array": "ndarray int64[2, 3] min 0, max 5, mean 2.5",
    "frame": "DataFrame of 2 rows x 2 columns",
    "series": "Series int64[2] 'a'",
    "table": "DataFrame of 2 rows x 1 columns",
    "column": "Series Int64[2] 'a'",
    "image": "Image 'RGB' (40, 30)",
    "lazy": "<LazyFrame object>",
    "model": "<Linear object>",
    "optimizer": "<SGD object>",
}


def test_values_are_summed_up(project: Project) -> None:
    project.start(VALUES, REMORA_MODE="dump")
    assert project.exit_code() == 1
    (found,) = dumps(project)
    nodes, (frame, *_) = found["nodes"], found["threads"][0]["frames"]
    numbers = {name: rest[0] for name, *rest in frame["locals"] if len(rest) == 1}
    shown = {name: nodes[str(numbers[name])]["text"] for name in TEXTS}
    assert shown == TEXTS
    # A hundredth of the size of the list of tensors
    assert sum(len(json.dumps(node)) for node in nodes.values()) < 4_000_000
    (weight,) = (
        nodes[str(rest[0])]
        for node in nodes.values()
        for name, *rest in node.get("children", ())
        if name == "['weight']" and len(rest) == 1
    )
    assert weight["text"].startswith("Parameter float32[2, 4] on cpu requires_grad min ")
