"""A debugger at the moment that it is wanted: on demand, after a crash, again and again."""

from __future__ import annotations

import pytest
from project import Project, marked, remora, wait_until

pytestmark = pytest.mark.docker

BATCH = "losses.append(loss)"

# A program that crashes, each time in this function; what comes before says how it is called.
CRASH = """
def crash(number):
    secret = number + 41
    raise ValueError("broken")  # here
"""


def test_demand_makes_the_running_process_listen(project: Project) -> None:
    project.compose("up", "--detach", "--wait", REMORA_MODE="demand", EPOCHS="100000")
    wait_until(lambda: "epoch" in project.log())
    assert "debugpy" not in project.log()
    before = remora(project, "status").stdout
    assert "mode demand" in before and "runs" in before and "no client" in before
    project.task("ask train to listen")
    editor = project.attach(project.line(BATCH), name="Ask train to listen, and attach")
    assert editor.stopped().path == project.source
    status = remora(project, "status").stdout
    assert "listens" in status and "a client is attached" in status
    editor.detach()
    # Once more is no mistake.
    assert "listens already" in remora(project, "attach").stdout
    assert project.attach(project.line(BATCH)).stopped().path == project.source


def test_demand_lists_several_and_takes_a_pid(project: Project) -> None:
    code = "import sys, time\nwhile True:\n    time.sleep(0.05)\n    name = sys.argv[1]\n"
    # bash is PID 1 below the init, and no Python itself.
    command = "python src/program.py one & python src/program.py two & sleep 1000"
    path = project.start(code, command, REMORA_MODE="demand")
    wait_until(lambda: "src/program.py two" in remora(project, "status", check=False).stdout)
    wait_until(lambda: "src/program.py one" in remora(project, "status", check=False).stdout)
    done = remora(project, "attach", check=False)
    assert done.returncode == 1
    (two,) = (text.split() for text in done.stdout.splitlines() if text.endswith("two"))
    done = debug_attach(project, "1", check=False)
    assert done.returncode == 1 and "pid 1 is not a process that can be debugged" in done.stdout
    assert "listens: train at 127.0.0.1" in debug_attach(project, two[1]).stdout
    editor = project.attach(3, source=path)
    stop = editor.stopped()
    assert stop.path == path
    # The other one joins, and both are found through the one port.
    editor.resume(stop)
    remora(project, "attach")
    seen = set()
    while seen != {"'one'", "'two'"}:
        stop = editor.stopped()
        seen.add(stop.locals.get("name", stop.locals.get("(no name yet)")))
        editor.resume(stop)


def test_nothing_is_asked_of_a_process_that_is_not_hooked(project: Project) -> None:
    project.start("", 'sleep 1000 | python -c "input()"', REMORA_MODE="demand")
    wait_until(lambda: "python -c" in remora(project, "attach", check=False).stdout)
    done = remora(project, "attach", check=False)
    assert done.returncode == 1
    assert "it runs no script or module" in done.stdout
    (pid,) = (text.split()[1] for text in done.stdout.splitlines() if "python -c" in text)
    assert (
        "is not a process that can be debugged"
        in remora(project, "attach", pid, check=False).stdout
    )
    assert remora(project, "attach", check=False).stdout == done.stdout


MULTIPROCESSING = """
import multiprocessing, sys
if __name__ == "__main__":
    child = multiprocessing.get_context("{}").Process(target=crash, args=[1])
    child.start()
    child.join()
    sys.exit(child.exitcode + 6)
"""

# What calls the function that crashes, and the exit code that it then has.
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
    # As libraries do that make tracebacks pretty
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
    log = [text for text in project.log().splitlines() if not text.startswith("remora: ")]
    # It printed what it prints without a debugger.
    project.compose("up", "--detach", REMORA_MODE="off")
    assert project.exit_code() == code
    assert sorted(log) == sorted(project.log().splitlines())


def test_all_ranks_that_crash_are_found_through_one_port(project: Project) -> None:
    code = f"{CRASH}\nimport os\ncrash(int(os.environ['RANK']))\n"
    command = "for RANK in 0 1 2; do RANK=$$RANK python src/program.py & done; wait"
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
def test_other_ends_are_no_crash(project: Project, last: str, code: int) -> None:
    project.start(last, REMORA_MODE="crash")
    assert project.exit_code() == code
    assert "debugpy" not in project.log()


def test_listen_takes_a_debugger_ten_times(project: Project) -> None:
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen", EPOCHS="100000")
    for _ in range(10):
        editor = project.attach(project.line(BATCH))
        assert editor.stopped().path == project.source
        editor.detach()
        # An adapter that has yet to take leave of one client does not answer the next.
        wait_until(lambda: "no client" in remora(project, "status").stdout)


def test_status_tells_why_nothing_listens(project: Project) -> None:
    project.compose("up", "--detach", REMORA_TARGET="other.py", EPOCHS="100000")
    wait_until(lambda: "epoch" in project.log())
    done = remora(project, "status", check=False)
    assert done.returncode == 1
    assert "REMORA_TARGET is other.py" in done.stdout
