"""REMORA_RANK: which of several ranks are held, and which run on."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.container import Container, imported
from support.project import marked, wait_until

TRAIN = """
import os

rank = int(os.environ.get("RANK", "-1"))
print(f"rank {rank} runs", flush=True)  # here
"""

# Like torchrun: its own process has the rank of the node, if any, and each worker has its own rank.
TORCHRUN = """
import os, subprocess, sys

print("launcher", os.environ.get("JOB_COMPLETION_INDEX"), flush=True)
first = int(os.environ.get("JOB_COMPLETION_INDEX", "0")) * 3
workers = [
    subprocess.Popen([sys.executable, *sys.argv[1:]], env={**os.environ, "RANK": str(rank)})
    for rank in range(first, first + 3)
]
sys.exit(max(worker.wait() for worker in workers))
"""

WAITS = "remora: Waiting for client to attach"


@pytest.fixture
def train(container: Container) -> Path:
    container.write("torchrun", TORCHRUN)
    return container.write("src/train.py", TRAIN)


@pytest.mark.parametrize(
    ("chosen", "held"), [("1", {1}), ("0,2", {0, 2}), ("*", {0, 1, 2}), ("7", set())]
)
def test_chosen_ranks_are_held_and_the_others_run(
    container: Container, train: Path, chosen: str, held: set[int]
) -> None:
    container.start("python torchrun src/train.py", REMORA_RANK=chosen)
    for rank in {0, 1, 2} - held:
        container.says(f"rank {rank} runs")
    if held:
        wait_until(lambda: sum(line.startswith(WAITS) for line in container.lines) == len(held))
        assert not any(f"rank {rank} runs" in container.lines for rank in held)
        warnings = [line for line in container.lines if "in collectives" in line]
        assert len(warnings) == 1
        editor = container.attach({train: [marked(train)]})
        found = set()
        for _ in held:
            stop = editor.stopped()
            found.add(int(stop.locals["rank"]))
            editor.resume(stop)
        assert found == held
        editor.ended()
    assert container.exit_code() == 0


def test_launcher_is_not_held_for_the_rank_of_its_node(container: Container, train: Path) -> None:
    """Node 1 has the ranks 3 to 5: rank 1 is elsewhere."""
    container.start("python torchrun src/train.py", REMORA_RANK="1", JOB_COMPLETION_INDEX="1")
    assert container.exit_code() == 0
    assert "launcher 1" in container.lines
    assert not any(line.startswith(WAITS) for line in container.lines)


def test_all_ranks_are_held_without_the_setting(container: Container, train: Path) -> None:
    container.start("python torchrun src/train.py", JOB_COMPLETION_INDEX="1")
    container.says(WAITS)
    assert "launcher 1" not in container.lines


def test_rank_that_runs_is_attached_later(container: Container) -> None:
    code = "import time\nwhile True:\n    time.sleep(0.01)  # here\n"
    path = container.write("src/loop.py", code)
    container.start("python src/loop.py", RANK="0", REMORA_RANK="1")
    container.says("Listening, a client can attach at any time")
    editor = container.attach({path: [marked(path)]})
    assert editor.stopped().line == marked(path)


def test_crash_of_another_rank_is_not_kept(container: Container) -> None:
    container.write("src/crash.py", "raise ValueError('lost')\n")
    command = "RANK=0 python src/crash.py; RANK=1 python src/crash.py"
    container.start(command, mode="crash", REMORA_RANK="1")
    container.says(WAITS)
    assert sum("kept as it is" in line for line in container.lines) == 1
    assert sum(line == "ValueError: lost" for line in container.lines) == 2


RANKS = {
    "none of several": ({}, None),
    "torch.distributed": ({"RANK": "3", "JOB_COMPLETION_INDEX": "1"}, 3),
    "srun": ({"SLURM_PROCID": "4"}, 4),
    "mpirun in srun": ({"OMPI_COMM_WORLD_RANK": "5", "SLURM_PROCID": "0"}, 5),
    "Indexed Job": ({"JOB_COMPLETION_INDEX": "6", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 6),
    "StatefulSet": ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 2),
    "no number": ({"RANK": "first"}, None),
}


@pytest.mark.parametrize("name", RANKS)
def test_rank_is_found_in_the_environment_or_the_name(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    environment, rank = RANKS[name]
    with imported("remora.ranks") as ranks:
        host = type("Host", (), {"nodename": "train-2"})
        monkeypatch.setattr(ranks.os, "uname", lambda: host)
        assert ranks.rank_of(environment) == rank


@pytest.mark.parametrize("nodename", ["api-6d4cf56db6-x7k2p", "c0ffee123456", "train"])
def test_pod_without_a_number_has_no_rank(monkeypatch: pytest.MonkeyPatch, nodename: str) -> None:
    with imported("remora.ranks") as ranks:
        host = type("Host", (), {"nodename": nodename})
        monkeypatch.setattr(ranks.os, "uname", lambda: host)
        assert ranks.rank_of({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) is None


@pytest.mark.parametrize(
    "command",
    [
        "python /usr/local/bin/torchrun --nnodes 2 train.py",
        "python -m torch.distributed.run train.py",
        "python -u -m torch.distributed.launch train.py",
        "python /venv/bin/accelerate launch train.py",
        "python -m deepspeed.launcher.launch train.py",
    ],
)
def test_launchers_are_recognized(command: str) -> None:
    with imported("remora.commandline") as commandline:
        assert commandline.is_launcher(command.split())
        assert not commandline.is_launcher(["python", "train.py", *command.split()])


@pytest.mark.parametrize("value", ["two", "-1", "0,,5", "0-5", "**"])
def test_bad_value_is_refused(container: Container, train: Path, value: str) -> None:
    container.start("python src/train.py", REMORA_RANK=value)
    assert container.exit_code() == 78
    assert container.lines == [
        f"remora: REMORA_RANK must be ranks such as 2 or 0,5, or * for all of them, not {value!r}"
    ]
