"""Mode `crash`: how many crashes are kept, for how long, and where. These tests need no Docker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.container import Container
from support.project import line, marked, wait_until

RAISE = """
import sys, threading

def work(a):
    b = a + 1
    raise ValueError(b)  # here

"""
# A library that adds to a report, as torch.distributed does to the report of a rank
HOLDS_BACK = """
import io

def hold_back(before):
    def report(*error):
        sys.stderr, stderr = io.StringIO(), sys.stderr
        before(*error)
        text, sys.stderr = sys.stderr.getvalue(), stderr
        print("[rank0] " + text, file=sys.stderr, flush=True)
    return report

sys.excepthook = hold_back(sys.excepthook)
"""
IN_POOL = """
import concurrent.futures, multiprocessing
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        print(pool.submit(work, 1).exception())
"""
# Each program, with its output when it is kept, and with its exit code
CRASHES = {
    "wrapped hook": (HOLDS_BACK + "work(1)\n", "[rank0] Traceback", 1),
    "hook of many layers": (HOLDS_BACK + HOLDS_BACK + "work(1)\n", "[rank0] [rank0] Traceback", 1),
    "hook that ends the process": (
        HOLDS_BACK
        + """
import os
inner = sys.excepthook

def report_and_end(*error):
    inner(*error)
    os._exit(7)

sys.excepthook = report_and_end
work(1)
""",
        "[rank0] Traceback",
        7,
    ),
    "own hook that calls Python's": (
        """
import os

def report_and_end(*error):
    sys.__excepthook__(*error)
    os._exit(7)

sys.excepthook = report_and_end
work(1)
""",
        "ValueError: 2",
        7,
    ),
    "end after a line": (
        """
import os
try:
    work(1)
except ValueError as error:
    print("failed:", error, flush=True)
    os._exit(3)
""",
        "failed: 2",
        3,
    ),
    "exit of a command line": (
        """
try:
    work(1)
except ValueError as error:
    print("failed:", error)
    sys.exit(4)
""",
        "failed: 2",
        4,
    ),
    "wrapped hook of threads": (
        """
import os, time
before = threading.excepthook

def report(arguments):
    before(arguments)
    open("reported", "w").close()

threading.excepthook = report
threading.Thread(target=work, args=[1], daemon=True).start()
while not os.path.exists("reported") or not os.path.exists("end"):
    time.sleep(0.01)
""",
        "ValueError: 2",
        0,
    ),
    "_thread": (
        """
import _thread, os, time
_thread.start_new_thread(work, (1,))
while not os.path.exists("end"):
    time.sleep(0.01)
""",
        "ValueError: 2",
        0,
    ),
    "members that were raised nowhere": (
        "class Group(ExceptionGroup):\n    pass\n\ndef work(a):\n    b = a + 1\n"
        "    raise Group('g', [ValueError(1)])  # group\n\nwork(1)\n",
        "Group: g",
        1,
    ),
}


@pytest.mark.parametrize("kind", CRASHES)
def test_crash_is_reported_and_then_kept(container: Container, kind: str) -> None:
    if "members" in kind and container.version < (3, 11):
        pytest.skip("Python 3.11 has the first ExceptionGroup")
    code, printed, exit_code = CRASHES[kind]
    path = container.write("p.py", RAISE + code)
    container.start("python p.py", mode="crash")
    if container.version == (3, 12) and kind == "exit of a command line":
        container.says("cannot be kept: Python ends")
        assert container.exit_code() == exit_code
        return
    # Python 3.12 cannot wait until such a hook has ended.
    if not (container.version == (3, 12) and printed.startswith("[rank0]")):
        container.says(printed)
    stop = container.attach({}).stopped()
    raised = line(path, "# group") if "members" in kind else marked(path)
    assert (stop.reason, stop.path, stop.line, stop.locals["b"]) == ("exception", path, raised, "2")
    container.write("end", "")
    container.editors[-1].resume(stop)
    assert container.exit_code() == exit_code
    assert printed in container.log()


def test_crash_that_a_thread_hands_to_the_hook_of_python_is_kept_once(container: Container) -> None:
    code = """
threading.excepthook = lambda arguments: sys.excepthook(*arguments[:3])
thread = threading.Thread(target=work, args=[1])
thread.start()
thread.join()
"""
    container.write("p.py", RAISE + code)
    container.start("exec python p.py", mode="crash", REMORA_KEEP_FOR="1s")
    assert container.exit_code() == 0
    assert container.log().count("ValueError in pid 1, kept as it is") == 1


OWN_NAMES = ["queue", "code", "platform", "token", "inspect", "bisect", "dis", "thread", "debugpy"]
OWN_MODULES = f"""
import subprocess
sys.path[:] = [folder for folder in sys.path if "site-packages" not in folder]
for name in {OWN_NAMES}:
    __import__(name)
subprocess.Popen = subprocess.run = None
work(1)
"""


def test_crash_is_kept_whatever_modules_the_program_has_changed(container: Container) -> None:
    for name in OWN_NAMES:
        container.write(f"{name}.py", "")
    path = container.write("p.py", RAISE + OWN_MODULES)
    container.start("python p.py", mode="crash")
    container.shows_crash(path)
    assert container.exit_code() == 1


def test_crash_of_a_program_with_an_own_module_for_threads(container: Container) -> None:
    container.write("threading.py", "")
    container.write("p.py", RAISE + "work(1)\n")
    container.start("exec python p.py", mode="crash")
    assert container.exit_code() == 1
    (said,) = [line for line in container.lines if line.startswith(("remora", "Error in"))]
    assert said.startswith("remora: the ValueError of pid 1 cannot be kept: AttributeError(")


CAUGHT = """
import os
try:
    work(1)
except ValueError:
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    try:
        sys.exit(1)
    except SystemExit:
        pass
print("done")
"""


@pytest.mark.parametrize("code", [CAUGHT, "raise SystemExit(0)\n", IN_POOL])
def test_what_is_caught_is_not_kept(container: Container, code: str) -> None:
    container.write("p.py", RAISE + code)
    container.start("exec python p.py", mode="crash")
    assert container.exit_code() == 0
    assert not [line for line in container.lines if line.startswith("remora")]


@pytest.mark.parametrize("is_let_go", [True, False])
def test_worker_that_is_a_target_is_kept(container: Container, is_let_go: bool) -> None:
    """The worker holds up its pool."""
    path = container.write("p.py", RAISE + IN_POOL)
    container.start("exec python p.py", mode="crash", REMORA_TARGET="p.py")
    container.says("Waiting for client to attach")
    if is_let_go:
        assert container.remora("let-go").returncode == 0
    else:
        container.shows_crash(path)
    assert container.exit_code() == 0
    wait_until(lambda: "2" in container.lines)


RANKS = "for n in 0 1 2 3 4 5 6 7; do { python p.py; echo ended $?; } & done; wait"


def test_the_first_are_kept_and_the_rest_end(container: Container) -> None:
    container.write("p.py", RAISE + "work(1)\n")
    container.start(RANKS, mode="crash", REMORA_KEEP="2", REMORA_KEEP_FOR="8h")
    wait_until(lambda: container.lines.count("ended 1") == 6)
    container.says("kept as it is")
    refused = [line for line in container.lines if "is not kept" in line]
    assert len(refused) == 6
    said = r"ValueError in pid \d+ is not kept: REMORA_KEEP is 2, and pid \d+, \d+ crashed first"
    assert re.fullmatch(f"remora: {said}", refused[0])
    wait_until(lambda: container.log().count("kept as it is") == 2)
    status = container.remora("status").stdout
    assert status.count(" has crashed ") == 2
    when = r"    ValueError, kept until an editor attaches, or `remora let-go`, or [\d:]{8} UTC"
    assert len(re.findall(when, status)) == 2, status
    first, second = re.findall(r"pid (\d+) +has crashed", status)
    done = container.remora("let-go", first, "99999")
    assert done.returncode == 1
    assert done.stdout == f"pid {first} ends as it would have\npid 99999 is not kept\n"
    wait_until(lambda: container.lines.count("ended 1") == 7)
    done = container.remora("let-go")
    assert (done.returncode, done.stdout) == (0, f"pid {second} ends as it would have\n")
    assert container.exit_code() == 0
    assert container.lines.count("ended 1") == 8


LAUNCHER = """
import subprocess, sys, time
ranks = [subprocess.Popen([sys.executable, "p.py"]) for _ in range(3)]
while all(rank.poll() is None for rank in ranks):
    time.sleep(0.01)
for rank in ranks:
    rank.terminate()
print("codes", sorted(rank.wait() for rank in ranks))
"""


def test_launcher_that_ends_all_ranks_leaves_the_kept_ones(container: Container) -> None:
    path = container.write("p.py", RAISE + "work(1)\n")
    container.write("launcher.py", LAUNCHER)
    container.start("exec python launcher.py", mode="crash")
    wait_until(lambda: container.log().count("is not kept") == 2)
    assert "ends afterwards, since the same program has started all of them" in container.log()
    status = container.remora("status").stdout
    assert status.count("ValueError: it ends after the kept ones") == 2
    editor = container.attach({})
    stop = editor.stopped()
    assert (stop.path, stop.line) == (path, marked(path))
    assert "while an editor is shown it" in container.remora("status").stdout
    editor.resume(stop)
    assert container.exit_code() == 0
    wait_until(lambda: any(line.startswith("codes") for line in container.lines))
    assert "1" in next(line for line in container.lines if line.startswith("codes"))


def test_another_crash_is_kept_after_the_first(container: Container) -> None:
    container.write("p.py", RAISE + "work(1)\n")
    container.start("python p.py; echo first; python p.py; echo second", mode="crash")
    for name in ("first", "second"):
        wait_until(lambda: container.remora("let-go").returncode == 0)
        container.says(name)
    assert container.exit_code() == 0


def test_crash_is_let_go_after_the_time_limit(container: Container) -> None:
    container.write("p.py", RAISE + "work(1)\n")
    container.start("exec python p.py", mode="crash", REMORA_KEEP_FOR="1")
    assert container.exit_code() == 1
    container.says("pid 1 is let go: REMORA_KEEP_FOR is 1")


def test_let_go_without_a_crash_fails(container: Container) -> None:
    container.write("p.py", "import time\ntime.sleep(600)\n")
    container.start("python p.py", mode="crash")
    done = container.remora("let-go")
    assert (done.returncode, done.stdout) == (1, "no crash is kept\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [("KEEP", "0"), ("KEEP", "x"), ("KEEP_FOR", "30 min"), ("KEEP_FOR", "0"), ("KEEP_FOR", "m")],
)
def test_bad_setting_is_refused(container: Container, name: str, value: str) -> None:
    container.start("python -c 1", mode="crash", **{f"REMORA_{name}": value})
    assert container.exit_code() == 78
    (said,) = container.lines
    assert said.startswith(f"remora: REMORA_{name} must be ") and repr(value) in said


# What a program does to its children, and to its descriptors
SIGNALS = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
# As the arbiter of gunicorn
REAPS = """
import os
owner = os.getpid()

def fork(before=os.fork):
    pid = before()
    if pid and os.getpid() == owner:
        os.waitpid(-1, 0)
    return pid

os.fork = fork
"""
DESCRIPTORS = "import os\nfound = [os.open('/dev/null', 0) for _ in range(1100)]\n"


@pytest.mark.parametrize(
    "code", [SIGNALS, REAPS, DESCRIPTORS], ids=["SIGCHLD", "waitpid", "descriptors"]
)
def test_crash_is_kept_whatever_the_program_did_to_its_process(
    container: Container, code: str
) -> None:
    path = container.write("p.py", code + RAISE + "work(1)\n")
    container.start("ulimit -n 4096; exec python p.py", mode="crash")
    container.shows_crash(path)
    assert container.exit_code() == 1
    assert "remora: cannot" not in container.log()


# The main thread crashes, and then another one, which does not keep Python from ending.
TWO = """
import os, time

def later():
    while not os.path.exists("go"):
        time.sleep(0.01)
    work(5)

threading.Thread(target=later, daemon=True).start()
work(1)
"""


def crash_twice(container: Container, **settings: str) -> Path:
    """Start a program with two threads that crash. Return its path once the second has."""
    path = container.write("p.py", RAISE + TWO)
    container.start("exec python p.py", mode="crash", **settings)
    container.says("Waiting for client to attach")
    container.write("go", "")
    container.says("ValueError in pid 1 is shown after the one that is kept")
    return path


@pytest.mark.parametrize("leaves", [True, False])
def test_second_crash_of_a_process_is_shown_after_the_first(
    container: Container, leaves: bool
) -> None:
    path = crash_twice(container)
    assert "ValueError, kept until an editor attaches" in container.remora("status").stdout
    editor = container.attach({})
    first = editor.stopped()
    assert (first.path, first.line, first.locals["b"]) == (path, marked(path), "2")
    editor.detach() if leaves else editor.resume(first)
    if container.version[:2] == (3, 12):  # which starts no thread while it ends
        container.says("cannot show the ValueError of pid 1")
        return
    if leaves:
        wait_until(lambda: container.log().count("Waiting for client to attach") == 2)
        editor = container.attach({})
    second = editor.stopped()
    assert (second.path, second.line, second.locals["b"]) == (path, marked(path), "6")
    editor.resume(second)
    assert container.exit_code() == 1


@pytest.mark.parametrize("settings", [{}, {"REMORA_KEEP_FOR": "10"}])
def test_process_of_two_crashes_is_let_go_at_once(
    container: Container, settings: dict[str, str]
) -> None:
    crash_twice(container, **settings)
    if settings:
        container.says("pid 1 is let go: REMORA_KEEP_FOR is 10")
    else:
        assert container.remora("let-go").stdout == "pid 1 ends as it would have\n"
    assert container.exit_code() == 1
    assert container.log().count("Waiting for client to attach") == 1
    assert "Traceback" not in (container.folder / "hub.log").read_text()
