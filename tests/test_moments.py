"""A debugger at the wanted moment: on demand, after a crash, again and again."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from support.project import Project, marked, remora, values_at, wait_until

pytestmark = pytest.mark.docker

BATCH = "losses.append(loss)"

# A program that always crashes in this function. The text before it says how it is called.
CRASH = """
def crash(number):
    secret = number + 41
    raise ValueError("broken")  # here
"""


def test_demand_makes_the_running_process_ready(project: Project) -> None:
    project.compose("up", "--detach", "--wait", REMORA_MODE="demand", EPOCHS="100000")
    wait_until(lambda: "epoch" in project.log())
    assert "remora" not in project.log()
    before = remora(project, "status").stdout
    assert before.startswith("mode demand, the port is closed\n")
    assert pids(before, "runs", "--epochs 100000")
    project.task("train: attach")
    assert pids(remora(project, "status").stdout, "ready", "--epochs 100000")
    editor = project.attach(project.line(BATCH), name="train: attach")
    assert editor.stopped().path == project.source
    status = remora(project, "status").stdout
    assert status.startswith("mode demand, port 5678 (train at 127.0.0.1:")
    assert "a client is attached" in status and pids(status, "is debugged", "--epochs 100000")
    editor.detach()
    # A second time does no harm.
    assert "is ready: train at 127.0.0.1:" in remora(project, "attach").stdout
    assert project.attach(project.line(BATCH)).stopped().path == project.source


def test_values_are_printed_without_an_editor(project: Project) -> None:
    project.compose("up", "--detach", "--wait", REMORA_MODE="demand", EPOCHS="100000")
    wait_until(lambda: "epoch" in project.log())
    found = values_at(project, BATCH, "--count", "2", "--when", "start > 0", "--eval", "len(batch)")
    for stop in found:
        assert stop["file"] == str(project.source.relative_to(project.root))
        assert (stop["line"], stop["function"]) == (project.line(BATCH), "train_epoch")
        assert int(stop["locals"]["start"]) > 0
        assert stop["values"] == {"len(batch)": "100"}
        assert [frame["function"] for frame in stop["stack"][1:3]] == ["train", "main"]
    assert len(found) == 2
    # The program runs on, and reaches the line again.
    assert len(values_at(project, BATCH)) == 1
    assert remora(project, "status").stdout.startswith("mode demand, the port is closed\n")


def pids(status: str, state: str, command: str) -> list[str]:
    """The pids of the processes that `remora status` shows in a state, by part of the command."""
    lines = [line.split() for line in status.splitlines() if f" {state} " in line]
    return [words[1] for words in lines if command in " ".join(words)]


# Two programs. Their parent is bash, below the init.
TWO = "python src/program.py one & python src/program.py two & sleep 1000"

NAMED = """
import sys, time
name = sys.argv[1]
while True:
    time.sleep(0.05)  # here
"""


def start_two(project: Project) -> Path:
    path = project.start(NAMED, TWO, REMORA_MODE="demand")
    wait_until(lambda: remora(project, "status", check=False).stdout.count(" runs ") == 2)
    return path


def test_demand_makes_all_programs_ready(project: Project) -> None:
    path = start_two(project)
    done = remora(project, "attach")
    assert done.stdout.count("is ready: train at 127.0.0.1:") == 2
    editor = project.attach(marked(path), source=path)
    # A client finds both through the same port. Each has a session.
    stops = [editor.stopped(), editor.stopped()]
    assert {stop.path for stop in stops} == {path}
    assert {stop.locals["name"] for stop in stops} == {"'one'", "'two'"}
    assert len({stop.client for stop in stops}) == 2


def test_demand_makes_only_the_named_process_ready(project: Project) -> None:
    path = start_two(project)
    (two,) = pids(remora(project, "status").stdout, "runs", "program.py two")
    done = remora(project, "attach", "1", check=False)
    assert done.returncode == 1 and "pid 1 is not a Python process of this container" in done.stdout
    done = remora(project, "attach", two)
    assert done.stdout.startswith(f"pid {two} is ready: train at 127.0.0.1:")
    editor = project.attach(marked(path), source=path)
    first = editor.stopped()
    assert first.locals["name"] == "'two'"
    status = remora(project, "status").stdout
    assert pids(status, "is debugged", "program.py two") == [two]
    assert pids(status, "runs", "program.py one")
    # The other program joins the existing session.
    remora(project, "attach")
    second = editor.stopped()
    assert second.locals["name"] == "'one'"
    assert second.client is not first.client


def test_debug_attach_still_works(project: Project) -> None:
    path = start_two(project)
    (two,) = pids(remora(project, "status").stdout, "runs", "program.py two")

    def debug_attach(*arguments: str) -> str:
        return project.compose("exec", "-T", "train", "debug-attach", *arguments).stdout

    attach = "debug-attach is called `remora attach` now"
    lines = debug_attach("--status").splitlines()
    assert "debug-attach is called `remora status` now" in lines
    assert "mode demand, the port is closed" in lines
    lines = debug_attach(two).splitlines()
    assert attach in lines
    assert [line.split(":")[0] for line in lines if line != attach] == [f"pid {two} is ready"]
    for options in ([], ["--all"]):
        text = debug_attach(*options)
        assert attach in text.splitlines() and text.count(" is ready: ") == 2
    editor = project.attach(marked(path), source=path)
    assert {editor.stopped().locals["name"] for _ in range(2)} == {"'one'", "'two'"}


def test_process_without_hook_is_left_alone(project: Project) -> None:
    project.start("", 'sleep 1000 | python -S -c "input()"', REMORA_MODE="demand")
    reason = "it was started with an option that keeps the hook out (-S)"
    wait_until(lambda: reason in remora(project, "attach", check=False).stdout)
    done = remora(project, "attach", check=False)
    assert done.returncode == 1
    assert "nothing can be debugged:" in done.stdout
    (pid,) = pids(done.stdout, "no debugger", "input()")
    named = remora(project, "attach", pid, check=False)
    assert named.returncode == 1
    assert f"pid {pid} cannot be debugged: {reason}" in named.stdout
    # The program still runs.
    assert remora(project, "attach", check=False).stdout == done.stdout


def test_one_liner_is_debugged_on_demand(project: Project) -> None:
    code = "import program; program.loop()"
    path = project.start(
        "import time\ndef loop():\n    while True:\n        time.sleep(0.05)  # here\n",
        f"cd src && python -c '{code}'",
        REMORA_MODE="demand",
    )
    wait_until(lambda: " runs " in remora(project, "status", check=False).stdout)
    project.task("train: attach")
    stop = project.attach(marked(path), source=path).stopped()
    assert (stop.path, stop.function) == (path, "loop")


MULTIPROCESSING = """
import multiprocessing, sys
if __name__ == "__main__":
    child = multiprocessing.get_context("{}").Process(target=crash, args=[1])
    child.start()
    child.join()
    sys.exit(child.exitcode + 6)
"""

# What calls the function that crashes, and the exit code of the program.
CRASHES = {
    "main": ("crash(1)", 1),
    "thread": ("import threading\nthreading.Thread(target=crash, args=[1]).start()", 0),
    "asyncio": ("import asyncio\nasync def main(): crash(1)\nasyncio.run(main())", 1),
    "task group": (
        """
import asyncio
async def one(): crash(1)
async def main():
    async with asyncio.TaskGroup() as group: group.create_task(one())
asyncio.run(main())
""",
        1,
    ),
    "subprocess": (
        """
import sys, subprocess
if sys.argv[1:]: crash(1)
sys.exit(subprocess.run([sys.executable, __file__, "x"]).returncode + 4)
""",
        5,
    ),
    "fork": (MULTIPROCESSING.format("fork"), 7),
    "spawn": (MULTIPROCESSING.format("spawn"), 7),
    "forkserver": (MULTIPROCESSING.format("forkserver"), 7),
    "import": ("if __name__ == '__main__': import program as again\nelse: crash(1)", 1),
    # Like libraries that format tracebacks
    "own excepthook": ("import sys\nsys.excepthook = lambda *e: print('pretty')\ncrash(1)", 1),
}


@pytest.mark.parametrize("where", CRASHES)
def test_crash_is_kept(project: Project, where: str) -> None:
    call, code = CRASHES[where]
    path = project.start(f"{CRASH}\n{call}\n", REMORA_MODE="crash")
    wait_until(lambda: "Waiting for client to attach..." in project.log())
    editor = project.attach()
    stop = editor.stopped()
    assert (stop.reason, stop.path, stop.line) == ("exception", path, marked(path))
    assert (stop.function, stop.locals["secret"]) == ("crash", "42")
    editor.resume(stop)
    assert project.exit_code() == code
    printed = project.output()
    # The output is the same as without a debugger.
    project.compose("up", "--detach", REMORA_MODE="off")
    assert project.exit_code() == code
    assert printed == sorted(project.log().splitlines())


def test_crash_is_dumped_and_read_elsewhere(project: Project) -> None:
    path = project.start(f"{CRASH}\ncrash(1)\n", REMORA_MODE="dump")
    assert project.exit_code() == 1
    project.compose("cp", "train:/var/lib/remora/dumps", "crashes")
    (dump,) = (project.root / "crashes").iterdir()
    project.compose("down")
    # Another container of the image, with that file. Nothing starts in it.
    mount = ("--volume", f"{dump}:/tmp/{dump.name}:ro", "--user", "root")
    show = ("remora", "crashes", "--show", f"/tmp/{dump.name}")
    shown = project.compose("run", "--rm", "-T", *mount, "train", *show, REMORA_MODE="off").stdout
    assert f"/app/src/program.py:{marked(path)} in crash\n" in shown
    assert "secret = 42" in shown


def test_container_that_is_stopped_leaves_a_dump(project: Project) -> None:
    """A container is stopped in this way by Docker, by Kubernetes, and when a machine goes away."""
    code = "import time\nepoch = 7\nprint('runs', flush=True)\ntime.sleep(600)  # here\n"
    project.override("dump.yml", environment={"REMORA_DUMP_ON": "term"})
    path = project.start(code, "exec python src/program.py", REMORA_MODE="dump")
    wait_until(lambda: "runs" in project.log())
    project.compose("stop")
    assert project.exit_code() == 143
    project.compose("cp", "train:/var/lib/remora/dumps", "crashes")
    (dump,) = (project.root / "crashes").iterdir()
    found = json.loads(gzip.decompress(dump.read_bytes()))
    (frame,) = found["threads"][0]["frames"]
    assert (frame["line"], found["exceptions"]) == (marked(path), [])
    assert ["epoch", "int", "7"] in frame["locals"]


def test_all_ranks_that_crash_are_found_through_one_port(project: Project) -> None:
    code = f"{CRASH}\nimport os\ncrash(int(os.environ['RANK']))\n"
    command = "for RANK in 0 1 2; do RANK=$$RANK python src/program.py & done; wait"
    project.override("keep.yml", environment={"REMORA_KEEP": "3"})
    project.start(code, command, REMORA_MODE="crash")
    wait_until(lambda: project.log().count("Waiting for client to attach...") == 3)
    editor = project.attach()
    secrets = set()
    for _ in range(3):
        stop = editor.stopped()
        assert stop.reason == "exception"
        secrets.add(stop.locals["secret"])
        editor.resume(stop)
    assert secrets == {"41", "42", "43"}
    assert project.exit_code() == 0


@pytest.mark.parametrize(
    ("last", "code"),
    [("raise SystemExit(3)", 3), ("raise KeyboardInterrupt", 130), ("print(1)", 0)],
)
def test_other_ends_do_not_count_as_a_crash(project: Project, last: str, code: int) -> None:
    project.start(last, REMORA_MODE="crash")
    assert project.exit_code() == code
    assert "remora" not in project.log()


def test_listen_takes_a_debugger_ten_times(project: Project) -> None:
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen", EPOCHS="100000")
    for _ in range(10):
        editor = project.attach(project.line(BATCH))
        assert editor.stopped().path == project.source
        editor.detach()
    assert "no client is attached" in remora(project, "status").stdout


def test_status_tells_why_nothing_is_debugged(project: Project) -> None:
    project.compose("up", "--detach", REMORA_TARGET="other.py", EPOCHS="100000")
    wait_until(lambda: "epoch" in project.log())
    done = remora(project, "status", check=False)
    assert done.returncode == 1
    assert pids(done.stdout, "no debugger", "--epochs 100000")
    assert "REMORA_TARGET is other.py" in done.stdout
