"""The engine in a program: it loads, leaves no trace, and debugs every child. No Docker."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support.container import IN_MULTIPROCESSING, SWALLOWED, Container
from support.dap import Editor, Stop
from support.project import line, marked, wait_until

# Prints what a debugger has left in a program, each time that a line arrives.
FACTS = """
import os, sys, threading

def is_free():
    threading_hook = getattr(threading, "_trace_hook", None)
    tools = [sys.monitoring.get_tool(n) for n in range(6)] if hasattr(sys, "monitoring") else []
    return not (sys.gettrace() or threading_hook or any(tools))
"""

# Loops that check whether their own thread is traced: with calls, and without calls of Python code.
LOOPS = {
    "calls": """
def look(n):
    return sys.gettrace() is None

def main():
    n = 0
    while True:
        n += 1  # here
        free["main"] = look(n)
""",
    "no calls": """
def main():
    n, trace = 0, sys.gettrace
    while True:
        n += 1  # here
        free["main"] = trace() is None
""",
}
LOOPING = """
import time

free = {"main": True}

def elsewhere():
    pass  # elsewhere

def report():
    before = None
    while True:
        now = "engine" if "pydevd" in sys.modules else "nothing"
        now += " free" if is_free() and free["main"] else " traced"
        if now != before:
            print(now, flush=True)
        before = now
        time.sleep(0.05)

threading.Thread(target=report, daemon=True).start()
main()
"""


def leave(editor: Editor, way: str) -> None:
    editor.detach() if way == "detach" else editor.close()


def debug_again_and_again(container: Container, path: Path, times: int, way: str) -> None:
    """Attach one client after another. Each sees the program stop twice, and leaves."""
    for _ in range(times):
        editor = container.attach({path: [marked(path)]})
        editor.resume(editor.stopped())
        editor.stopped()
        leave(editor, way)


def last_line_is(container: Container, text: str) -> None:
    wait_until(lambda: container.lines[-1:] == [text])


def is_here(stop: Stop, path: Path) -> bool:
    return (stop.path, stop.line, stop.reason) == (path, marked(path), "breakpoint")


# ---- A client comes and goes ----


# Except on x86 with glibc, pydevd has no library to trace threads that already run.
LIBRARIES = {"pydevd's library": "true", "no library": "false"}


@pytest.mark.parametrize(
    ("way", "library"),
    [("detach", "pydevd's library"), ("close", "pydevd's library"), ("detach", "no library")],
)
@pytest.mark.parametrize("kind", LOOPS)
def test_program_is_free_without_client(
    container: Container, kind: str, way: str, library: str
) -> None:
    path = container.write("p.py", FACTS + LOOPS[kind] + LOOPING)
    settings = {"PYDEVD_LOAD_NATIVE_LIB": LIBRARIES[library]}
    container.start("exec python p.py", mode="listen", **settings)
    if library == "no library" and container.version == (3, 8):
        container.attach({path: [marked(path)]})
        container.says("only threads that start from now on can stop")
        return
    container.says("nothing free")
    here, elsewhere = marked(path), line(path, "# elsewhere")

    editor = container.attach({path: [elsewhere]})
    last_line_is(container, "engine traced")
    leave(editor, way)
    last_line_is(container, "engine free")

    # The program stops in a loop that already ran, and is free again although it was stopped.
    editor = container.attach({path: [here]})
    assert is_here(editor.stopped(), path)
    leave(editor, way)
    last_line_is(container, "engine free")

    # The breakpoints of a client do not affect the next client.
    editor = container.attach({path: [elsewhere]})
    last_line_is(container, "engine traced")
    editor.set_breakpoints(path, here)
    assert is_here(editor.stopped(), path)
    leave(editor, way)
    last_line_is(container, "engine free")


def test_step_ends_with_the_client(container: Container) -> None:
    path = container.write("p.py", FACTS + LOOPS["calls"] + LOOPING)
    container.start("exec python p.py", mode="listen")
    editor = container.attach({path: [marked(path)]})
    stop = editor.stopped()
    editor.set_breakpoints(path)
    stop.client.request("stepOut", threadId=stop.thread)  # in a loop that never ends
    editor.detach()
    last_line_is(container, "engine free")
    editor = container.attach({path: [line(path, "# elsewhere")]})
    last_line_is(container, "engine traced")
    assert not [text for text in editor.traffic if '"event": "stopped"' in text]


# Stops in its main thread or in another one, as its argument says.
EVALUATED = """
import sys, threading, time

def work():
    while True:
        time.sleep(0.01)
        number = 1  # here

if sys.argv[1] == "other":
    threading.Thread(target=work, daemon=True).start()
    work = threading.Event().wait
work()
"""


@pytest.mark.parametrize("ends", ["disconnects", "is cut off"])
@pytest.mark.parametrize(
    ("thread", "expression"),
    [
        ("main", "time.sleep(1000)"),
        ("main", "exec('while True: pass')"),
        ("other", "exec('while True: pass')"),
    ],
)
def test_expression_that_does_not_end_ends_with_the_client(
    container: Container, thread: str, expression: str, ends: str
) -> None:
    path = container.write("p.py", EVALUATED)
    container.start(f"exec python p.py {thread}", mode="listen")
    editor = container.attach({path: [marked(path)]})
    stop = editor.stopped()
    frame = stop.client.request("stackTrace", threadId=stop.thread)["stackFrames"][0]["id"]
    begun = f"open('begun', 'w') and {expression}"
    stop.client.send("evaluate", expression=begun, frameId=frame, context="repl")
    wait_until((container.folder / "begun").exists)
    editor.detach() if ends == "disconnects" else editor.close()
    # The thread stops again only if it has gone on.
    stop = container.attach({path: [marked(path)]}).stopped()
    assert (stop.path, stop.line) == (path, marked(path))


def test_off_loads_nothing(container: Container) -> None:
    container.write(
        "p.py", FACTS + "print(is_free(), *[m for m in sys.modules if 'remora' in m])\n"
    )
    container.start("python p.py", mode="off")
    assert container.exit_code() == 0
    left = "" if container.version < (3, 15) else " _remora _remora.hook"
    last_line_is(container, f"True{left}")


@pytest.mark.parametrize("target", ["another.py", "*another.p?"])
def test_program_that_is_passed_over_loads_little(container: Container, target: str) -> None:
    """It does not even load `re`, whose import takes longer than the rest of the hook."""
    code = "import sys\nprint('left:', *[m for m in sys.modules if 'remora' in m or m == 're'])\n"
    container.write("p.py", code)
    container.start("python -X importtime p.py", mode="wait", REMORA_TARGET=target)
    assert container.exit_code() == 0
    # Older versions of Python read their command line in /proc.
    reads = ["_remora.container"] if container.version < (3, 10) else []
    wanted = ["_remora", "_remora.hook", "_remora.commandline", *reads]
    left = [] if container.version < (3, 15) else wanted
    last_line_is(container, " ".join(["left:", *left]))
    loaded = [text.split("|")[-1].strip() for text in container.lines]
    assert {name for name in loaded if "remora" in name} == set(wanted)


IMPORTING = """
import os, sys

print("up", flush=True)
failed = 0
while not os.path.exists("end"):
    sys.modules.pop("mine", None)
    try:
        import mine
    except ImportError:
        failed += 1
print("failed:", failed, flush=True)
"""


def test_program_imports_while_the_engine_is_loaded(container: Container) -> None:
    container.write("mine.py", "x = 1\n")
    container.write("p.py", IMPORTING)
    container.start("exec python p.py", mode="listen")
    container.says("up")
    container.attach({})
    container.write("end", "")
    container.says("failed: 0")


# Starts threads and, on request, prints how many sessions are in memory. The garbage collector is
# off, because it runs only now and then. No objects are listed while a session begins, because that
# would expose tuples that are still being built.
SESSIONS = """
import gc, os, sys, threading, time

gc.disable()
before = None
while True:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    if os.path.exists("count"):
        if sys.version_info >= (3, 12):
            gc.collect()  # with sys.monitoring, pydevd leaves a session to the collector
        session = getattr(sys.modules.get("pydevd"), "PyDB", None)
        now = list(map(type, gc.get_objects())).count(session)
        if now != before:
            print(now, flush=True)
        before = now
    time.sleep(0.01)  # here
"""


@pytest.mark.parametrize("way", ["detach", "close"])
def test_nothing_is_kept_of_a_session(container: Container, way: str) -> None:
    path = container.write("p.py", SESSIONS)
    container.start("exec python p.py", mode="listen")
    debug_again_and_again(container, path, 4, way)
    container.write("count", "")
    # A thread that is being traced at that moment keeps a session until the next one.
    wait_until(lambda: container.lines[-1:] in (["0"], ["1"]))


# Starts threads one after another. Until a thread runs, it has the ident of its starter. Another
# process keeps their processor busy, so that this state lasts.
STARTING = """
import os, subprocess, threading

os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
subprocess.Popen(["sh", "-c", "while :; do :; done"])
os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
while True:
    threading.Thread(target=int).start()
    pass  # here
"""


def test_client_attaches_while_a_thread_starts_others(container: Container) -> None:
    path = container.write("p.py", STARTING)
    container.start("exec python p.py", mode="listen")
    debug_again_and_again(container, path, 8, "detach")
    assert not [line for line in container.lines if not line.startswith("remora: ")]


# On request, reaches the line once, in a thread.
ONCE = """
import _thread, os, queue, sys, threading, time

def work():
    n = jobs.get()
    return n  # here

def start():
    if sys.argv[1] == "_thread":
        _thread.start_new_thread(work, ())
    else:
        threading.Thread(target=work).start()

jobs = queue.Queue()
if sys.argv[1] == "early":
    start()
print("up", flush=True)
while not os.path.exists("go"):
    time.sleep(0.001)
if sys.argv[1] != "early":
    start()
jobs.put(1)
while True:
    time.sleep(1)
"""


@pytest.mark.parametrize("mode", ["listen", "demand"])
@pytest.mark.parametrize("kind", ["early", "late", "_thread"])
def test_line_that_is_reached_at_once_stops(container: Container, mode: str, kind: str) -> None:
    """Once a client knows that it is attached, it misses no stop."""
    path = container.write("p.py", ONCE)
    container.start(f"exec python p.py {kind}", mode=mode)
    container.says("up")
    if mode == "demand":
        container.remora("attach")
    editor = container.attach({path: [marked(path)]})
    container.write("go", "")
    stop = editor.stopped()
    assert is_here(stop, path)
    assert stop.locals["n"] == "1"


# Loads the engine slowly, as on a busy machine.
SLOW = """
import sys, time

def on_import(event, arguments):
    if event == "import" and arguments[0] == "debugpy.server.api":
        time.sleep(1)

sys.addaudithook(on_import)
"""


@pytest.mark.parametrize("mode", ["listen", "wait"])
def test_line_that_another_program_reaches_at_once_stops(container: Container, mode: str) -> None:
    """Once a client knows that it is attached, it misses no stop in any program."""
    path = container.write("p.py", ONCE)
    slow = container.write("slow.py", SLOW + ONCE)
    container.start("python slow.py late & exec python p.py late", mode=mode)
    if mode == "listen":
        wait_until(lambda: container.lines.count("up") == 2)
    editor = container.attach({path: [marked(path)], slow: [marked(slow)]})
    container.write("go", "")
    assert {editor.stopped().path, editor.stopped().path} == {path, slow}


# Prints how many calls have left their variables in memory, with the garbage collector off. Each
# thread starts when another has just ended, and may have its ident.
CALLS = """
import gc, os, threading, time, weakref

gc.disable()

class Big:
    pass

known = []

def work(n):
    big = Big()
    known.append(weakref.ref(big))
    time.sleep(0.01)
    return n  # here

while True:
    thread = threading.Thread(target=work, args=[1])
    thread.start()
    thread.join()
    print("kept", sum(ref() is not None for ref in known), flush=True)
"""


def test_no_frame_is_kept_of_the_program(container: Container) -> None:
    path = container.write("p.py", CALLS)
    container.start("exec python p.py", mode="listen")
    editor = container.attach({path: []})
    for _ in range(20):
        editor.set_breakpoints(path)
    # pydevd asks for a thread's frames by its ident.
    editor.set_breakpoints(path, marked(path))
    stop = editor.stopped()
    assert stop.locals["n"] == "1"
    editor.set_breakpoints(path)
    editor.resume(stop)
    lines = len(container.lines)
    wait_until(lambda: len(container.lines) > lines and container.lines[-1] == "kept 0")


MAIN_THREAD = """
import os, sys, time

print("up", "threading" in sys.modules, flush=True)
while not os.path.exists("end"):
    time.sleep(0.01)
import threading
print("main:", threading.main_thread() is threading.current_thread(), flush=True)
"""


# What a program sees of the processes that it starts.
CHILDREN_STARTED = """
import sys, time
STARTS = {"os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"}
started = []
sys.addaudithook(lambda event, _: started.append(event) if event in STARTS else None)
while True:
    time.sleep(0.01)  # here
"""


def test_engine_starts_no_process_in_the_program(container: Container) -> None:
    path = container.write("p.py", CHILDREN_STARTED)
    container.start("python p.py", mode="listen")
    stop = container.attach({path: [marked(path)]}).stopped()
    assert is_here(stop, path)
    assert stop.locals["started"] == "[]"


SERVERS = """
import http, sys
loaded = {"http.server", "xmlrpc.client", "pydoc"} & set(sys.modules)
print(sorted(loaded), vars(http).get("server"))
import http.server, xmlrpc.client, xmlrpc.server  # here
print(http.server.HTTPServer.__name__, xmlrpc.client.dumps((1,), "f").count("<int>"))
print(xmlrpc.server.SimpleXMLRPCServer.__name__)
"""


def test_engine_leaves_out_what_it_does_not_use(container: Container) -> None:
    path = container.write("p.py", SERVERS)
    container.start("exec python p.py")
    editor = container.attach({path: [marked(path)]})
    editor.resume(editor.stopped())
    assert container.exit_code() == 0
    assert container.lines[-3:] == ["[] None", "HTTPServer 1", "SimpleXMLRPCServer"]


def test_main_thread_is_that_of_the_program(container: Container) -> None:
    container.write("p.py", MAIN_THREAD)
    container.start("exec python p.py", mode="listen")
    container.says("up False")
    container.attach({})
    container.write("end", "")
    container.says("main: True")
    assert container.exit_code() == 0
    assert "Exception" not in container.log()


def test_program_joins_once_if_the_client_came_first(container: Container) -> None:
    """The program joins once, though the hub asks for it while it joins by itself."""
    path = container.write("p.py", "import sys\nprint('ran', sys.argv)  # here\n")
    container.start("python p.py 1; python p.py 2; python p.py 3")
    editor = container.attach({path: [marked(path)]})
    for _ in range(3):
        stop = editor.stopped()
        assert is_here(stop, path)
        editor.resume(stop)
    assert container.exit_code() == 0
    assert container.log().count("ran") == 3


# ---- Children ----

WORK = (
    FACTS
    + """
def work(name):
    answer = name + "!"
    return answer  # here

def child(name="a"):
    work(name)
    print("free" if is_free() else "traced", flush=True)
    sys.exit(3)

def end(*codes):
    print("codes", *codes, flush=True)
    sys.exit(4)

"""
)
MULTIPROCESSING = """
import multiprocessing
if __name__ == "__main__":
    context = multiprocessing.get_context("%s")
    children = [context.Process(target=child, args=[name]) for name in "ab"]
    for process in children:
        process.start()
    for process in children:
        process.join()
    end(*[process.exitcode for process in children])
"""
FORK = """
pid = %s
if pid == 0:
    child()
end(os.waitpid(pid, 0)[1] >> 8)
"""
# The programs, each with its children and its last line.
CHILDREN = {
    "os.fork": (FORK % "os.fork()", ["a"], "codes 3"),
    "fork in a thread": (
        """
def fork():
    pid = os.fork()
    if pid == 0:
        try:
            child()
        except SystemExit as error:
            os._exit(error.code)
    print("codes", os.waitpid(pid, 0)[1] >> 8, flush=True)

thread = threading.Thread(target=fork)
thread.start()
thread.join()
sys.exit(4)
""",
        ["a"],
        "codes 3",
    ),
    "pty.fork": (
        """
import pty
pid, terminal = pty.fork()
if pid == 0:
    child()
try:
    while os.read(terminal, 1000):
        pass
except OSError:
    pass
end(os.waitpid(pid, 0)[1] >> 8)
""",
        ["a"],
        "codes 3",
    ),
    "multiprocessing: fork": (MULTIPROCESSING % "fork", ["a", "b"], "codes 3 3"),
    "multiprocessing: spawn": (MULTIPROCESSING % "spawn", ["a", "b"], "codes 3 3"),
    "multiprocessing: forkserver": (MULTIPROCESSING % "forkserver", ["a", "b"], "codes 3 3"),
    "pool": (
        """
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool:
        end(*pool.map(work, "ab"))
""",
        ["a", "b"],
        "codes a! b!",
    ),
    "preexec_fn": (
        """
import subprocess
if sys.argv[1:]:
    child()
shell = subprocess.run(["sh", "-c", "exit 5"], preexec_fn=os.setsid)
python = subprocess.run([sys.executable, __file__, "child"], preexec_fn=os.setsid)
end(shell.returncode, python.returncode)
""",
        ["a"],
        "codes 5 3",
    ),
    "asyncio": (
        """
import asyncio
async def main():
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, "child")
    return await process.wait()
if sys.argv[1:]:
    child()
end(asyncio.run(main()))
""",
        ["a"],
        "codes 3",
    ),
    "a child of a child": (
        """
pid = os.fork()
if pid == 0:
    work("a")
    pid = os.fork()
    if pid == 0:
        child("b")
    os._exit(os.waitpid(pid, 0)[1] >> 8)
end(os.waitpid(pid, 0)[1] >> 8)
""",
        ["a", "b"],
        "codes 3",
    ),
}


@pytest.mark.parametrize("kind", CHILDREN)
def test_breakpoints_in_children_stop(container: Container, kind: str) -> None:
    code, names, last = CHILDREN[kind]
    path = container.write("p.py", WORK + code)
    container.start("python p.py")
    editor = container.attach({path: [marked(path)]})
    seen = []
    for _ in names:
        stop = editor.stopped()
        assert is_here(stop, path)
        assert stop.client is not editor.clients[0]
        seen.append(stop.locals["name"])
        editor.resume(stop)
    assert sorted(seen) == [repr(name) for name in names]
    assert container.exit_code() == 4
    assert last in container.lines


@pytest.mark.parametrize("kind", CHILDREN)
def test_children_run_untraced_without_client(container: Container, kind: str) -> None:
    code, _, last = CHILDREN[kind]
    container.write("p.py", WORK + code)
    container.start("python p.py", mode="listen")
    assert container.exit_code() == 4
    wait_until(lambda: last in container.lines)
    assert "traced" not in container.lines


def test_child_outlives_its_parent(container: Container) -> None:
    """The hub sees that the parent ends, and the child continues in the session of the root."""
    code = """
reading, writing = os.pipe()
if os.fork() == 0:
    os.close(writing)
    os.read(reading, 1)  # until the parent has ended
    child()
work("parent")
"""
    path = container.write("p.py", WORK + code)
    container.start("python p.py; echo parent ended with $?; mkfifo fifo; cat fifo", mode="wait")
    editor = container.attach({path: [marked(path)]})
    stop = editor.stopped()
    assert stop.client is editor.clients[0]
    editor.resume(stop)
    container.says("parent ended with 0")
    stop = editor.stopped()
    assert stop.locals["name"] == "'a'"
    editor.resume(stop)
    container.says("traced")


# Forks without end. A new thread of each child imports a module, which finds what another thread of
# the parent has left in the child. At the end, the program prints how its children have ended.
FORKING = """
import os, signal, sys, threading, time

def work():
    try:
        import mine
        os._exit(0)
    finally:
        os._exit(1)

def status_of(pid):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]

print("up", flush=True)
ends = set()
while not os.path.exists("end"):
    pid = os.fork()
    if pid == 0:
        threading.Thread(target=work).start()
        signal.pause()
    ends.add(status_of(pid))
print("children ended with", *ends, flush=True)
"""


def test_program_forks_while_clients_come_and_go(container: Container) -> None:
    container.write("mine.py", "x = 1\n")
    container.write("p.py", FORKING)
    container.start("exec python p.py", mode="listen")
    container.says("up")
    for _ in range(5):
        container.attach({}).close()
    container.write("end", "")
    container.says("children ended with")
    assert "children ended with 0" in container.lines


# Forks after a session, as if another thread still ended that session.
FORK_AT_END = """
import os, sys, time

while not os.path.exists("fork"):
    time.sleep(0.01)
pydevd = sys.modules["pydevd"]
while pydevd.get_global_debugger() is not None:
    time.sleep(0.01)
lock = sys.modules["_remora.engine.ending"].lock
lock.acquire()
pid = os.fork()
if pid > 0:
    lock.release()
    print("forked", flush=True)
    os.waitpid(pid, 0)
while True:
    time.sleep(0.01)  # here
"""


def test_child_that_is_forked_while_a_session_ends_is_debugged(container: Container) -> None:
    path = container.write("p.py", FORK_AT_END)
    container.start("exec python p.py", mode="listen")
    container.attach({}).close()
    container.write("fork", "")
    container.says("forked")
    assert is_here(container.attach({path: [marked(path)]}).stopped(), path)


# ---- An engine or a hub that cannot be started ----

REFUSING = """
import sys, time

def refuse(event, arguments):
    if event == "import" and arguments[0] == "debugpy.server.api":
        raise ImportError("not here")

sys.addaudithook(refuse)
print("up", flush=True)
time.sleep(1000)
"""


def test_engine_that_cannot_be_loaded_is_reported_once(container: Container) -> None:
    """The hub notes the reason, and does not ask again."""
    container.write("p.py", REFUSING)
    container.start("exec python p.py", mode="listen")
    container.says("up")
    container.attach({})
    wait_until(lambda: "ImportError('not here')" in container.remora("status").stdout)
    done = container.remora("attach")
    assert "cannot be debugged: ImportError('not here')" in done.stdout
    assert container.log().count("cannot be debugged") == 1


# Denies the hook its fork, as the kernel does when there are too many processes.
NO_FORK = """
import os

fork = os.fork

def fail():
    os.fork = fork  # later forks work
    raise BlockingIOError(11, "too many processes")

os.fork = fail
"""


@pytest.mark.parametrize("mode", ["wait", "listen"])
def test_program_runs_on_if_the_hub_cannot_be_started(container: Container, mode: str) -> None:
    """The program goes on, and can be debugged later."""
    path = container.write("no_fork.py", NO_FORK)
    container.write("p.py", "import time\nprint('up', flush=True)\ntime.sleep(1000)\n")
    (site_packages,) = container.python.parents[1].glob("lib/python3*/site-packages")
    # Before remora.pth, in alphabetical order.
    start_up = site_packages / "a.pth"
    start_up.write_text(f"import sys; exec(open({str(path)!r}).read(), {{}})\n")
    try:
        container.start("exec python p.py", mode=mode)
        container.says("goes on without a debugger: BlockingIOError")
        container.says("up")
    finally:
        start_up.unlink()
    assert "pid 1 is ready" in container.remora("attach").stdout


# ---- Mode `crash` ----

RAISE = """
import sys, threading

def work(a):
    b = a + 1
    raise ValueError(b)  # here

"""
CRASHES = {
    "main thread": ("work(1)\n", 1),
    "thread": ("t = threading.Thread(target=work, args=[1])\nt.start()\nt.join()\n", 0),
    "daemon thread": (
        """
import os, time
threading.Thread(target=work, args=[1], daemon=True).start()
while not os.path.exists("end"):
    time.sleep(0.01)  # Python 3.12 starts no thread any more once the main thread has ended
""",
        0,
    ),
    "thread after the main one": (
        """
def wait():
    threading.main_thread().join()
    work(1)

threading.Thread(target=wait).start()
""",
        0,
    ),
    "fork": (IN_MULTIPROCESSING % "fork", 1),
    "spawn": (IN_MULTIPROCESSING % "spawn", 1),
    "own excepthook": (
        """
def report(kind, error, trace):
    sys.last_value = error
    print("mine", flush=True)

sys.excepthook = report
work(1)
""",
        1,
    ),
    "group": ("try:\n    work(1)\nexcept ValueError as e:\n    raise ExceptionGroup('', [e])\n", 1),
}


def is_lost(container: Container, kind: str) -> bool:
    """Tell whether a crash cannot be kept. A line then says so, and Python ends as usual."""
    # Python 3.12 starts no threads while it ends.
    is_at_end = kind in ("own excepthook", "thread after the main one")
    if not is_at_end or container.version != (3, 12):
        return False
    container.says("cannot be kept: Python ends")
    assert container.exit_code() == CRASHES[kind][1]
    return True


@pytest.mark.parametrize("kind", CRASHES)
def test_crash_is_kept(container: Container, kind: str) -> None:
    if kind == "group" and container.version < (3, 11):
        pytest.skip("Python 3.11 has the first ExceptionGroup")
    code, exit_code = CRASHES[kind]
    path = container.write("p.py", RAISE + code)
    container.start("python p.py", mode="crash")
    if is_lost(container, kind):
        return
    editor = container.attach({})
    stop = editor.stopped()
    assert (stop.reason, stop.path, stop.line) == ("exception", path, marked(path))
    assert stop.locals["b"] == "2"
    container.write("end", "")
    # The crash was reported before.
    assert ("mine" if kind == "own excepthook" else "ValueError: 2") in container.log()
    editor.resume(stop)
    assert container.exit_code() == exit_code


# Settings that change what Python does while the engine loads and the hub starts.
SETTINGS = {
    "warnings are errors": {"PYTHONWARNINGS": "error"},  # Python 3.12 warns about forks
    "imports are lazy": {"PYTHON_LAZY_IMPORTS": "all"},  # Python 3.15
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_crash_is_kept_whatever_python_is_set_to(container: Container, kind: str) -> None:
    path = container.write("p.py", RAISE + "work(1)\n")
    container.start("python p.py", mode="crash", **SETTINGS[kind])
    editor = container.attach({})
    stop = editor.stopped()
    assert (stop.path, stop.line) == (path, marked(path))
    editor.resume(stop)
    assert container.exit_code() == 1
    assert "Warning" not in container.log()


@pytest.mark.parametrize("kind", ["main thread", "own excepthook"])
@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_signal_ends_a_crash_that_is_kept(container: Container, kind: str, name: str) -> None:
    # The program's own handler, which only records the signal, would not end it.
    code = "import signal\nsignal.signal(signal.SIGTERM, print)\nprint('in a buffer')\n"
    container.write("p.py", RAISE + code + CRASHES[kind][0])
    container.start("exec python p.py", mode="crash")
    if is_lost(container, kind):
        return
    container.says("Waiting for client to attach")
    container.execute("kill", f"-{name}", "1")
    assert container.exit_code() == 128 + signal.Signals[f"SIG{name}"]
    wait_until(lambda: "in a buffer" in container.lines)


def test_interrupt_of_a_crash_that_is_kept_is_not_lost(container: Container) -> None:
    container.write("p.py", RAISE + SWALLOWED + "work(1)\n")
    container.start("exec python p.py", mode="crash")
    assert container.exit_code() == 130


def test_crash_is_kept_if_the_program_was_ready(container: Container) -> None:
    """The program has an engine by then, but no client."""
    wait = "import os, time\nwhile not os.path.exists('end'):\n    time.sleep(0.01)\n"
    path = container.write("p.py", RAISE + wait + "work(1)\n")
    container.start("python p.py", mode="crash")
    wait_until(lambda: "is ready" in container.remora("attach").stdout)
    container.write("end", "")
    container.says("kept as it is")
    container.shows_crash(path)
    assert container.exit_code() == 1


# ---- Mode `demand`, and breakpoint() ----


def test_demand_makes_a_program_ready(container: Container) -> None:
    path = container.write("p.py", FACTS + LOOPS["calls"] + LOOPING)
    container.start("exec python p.py", mode="demand")
    container.says("nothing free")
    assert not container.is_open()
    done = container.remora("attach")
    assert (done.returncode, "pid 1 is ready" in done.stdout) == (0, True), done
    for _ in range(2):
        editor = container.attach({path: [marked(path)]})
        assert is_here(editor.stopped(), path)
        editor.detach()
        last_line_is(container, "engine free")


BREAKPOINT = """
import sys

def work(a):
    breakpoint()
    return a  # here

work(1)
print("pydevd" in sys.modules, flush=True)
"""


@pytest.mark.parametrize("mode", ["listen", "demand", "crash"])
def test_breakpoint_without_client_is_ignored(container: Container, mode: str) -> None:
    container.write("p.py", BREAKPOINT)
    container.start("python p.py", mode=mode)
    assert container.exit_code() == 0
    wait_until(lambda: "False" in container.lines)


def test_breakpoint_does_no_harm_while_the_engine_is_loaded(container: Container) -> None:
    """breakpoint() is called in a loop, so it meets every moment of the load."""
    path = container.write("p.py", "while True:\n    breakpoint()\n    n = 1  # here\n")
    container.start("python p.py", mode="listen")
    stop = container.attach({path: [marked(path)]}).stopped()
    assert (stop.path, stop.line) == (path, marked(path)), container.log()


def test_breakpoint_with_client_stops(container: Container) -> None:
    path = container.write("p.py", BREAKPOINT)
    container.start("python p.py")
    editor = container.attach({})
    stop = editor.stopped()
    assert (stop.path, stop.line, stop.locals["a"]) == (path, marked(path), "1")
    editor.resume(stop)
    assert container.exit_code() == 0


SEVERAL_THREADS = """
import threading

done = threading.Event()
for _ in range(20):
    threading.Thread(target=done.wait, daemon=True).start()
n = 1  # here
n += 1
n += 1
print("end", flush=True)
"""


def test_step_wakes_the_thread_that_goes_on(container: Container) -> None:
    """A thread that is not woken looks again after TIMEOUT_SLOW: here, that is an hour."""
    path = container.write("p.py", SEVERAL_THREADS)
    container.start("python p.py")
    editor = container.attach({path: [marked(path)]})
    stop = editor.stopped()
    frame = stop.client.request("stackTrace", threadId=stop.thread)["stackFrames"][0]["id"]
    slow = "setattr(__import__('sys').modules['pydevd'], 'TIMEOUT_SLOW', 3600)"
    stop.client.request("evaluate", expression=slow, frameId=frame)
    for steps in (1, 2):
        stop = editor.step(stop)
        assert stop.line == marked(path) + steps
    editor.resume(stop)
    # Do not wait for its exit: a thread of pydevd may look for that only after the hour.
    container.says("end")


PAUSES = """
import sys
import time

sleep = time.sleep

def noted(seconds):
    if sys._getframe(1).f_code.co_filename.endswith("pydevd.py"):
        print("pydevd pauses", flush=True)
    sleep(seconds)

time.sleep = noted
while True:
    sleep(0.05)  # here
"""


def test_session_begins_without_a_pause(container: Container) -> None:
    path = container.write("p.py", PAUSES)
    container.start("python p.py", mode="listen")
    container.says("Listening")
    assert container.attach({path: [marked(path)]}).stopped().line == marked(path)
    assert "pydevd pauses" not in container.log()


# A library with many functions, and a program that calls all of them again and again
MANY = "\n".join(f"def f{n}(x):\n    return x + {n}\n" for n in range(50))
LIBRARY = f"{MANY}\ndef last(x):\n    return x  # here\n"
CALLS_MANY = """
import sys
sys.path.append("site-packages")
import library, time

while True:
    for n in range(50):
        getattr(library, f"f{n}")(n)
    library.last(0)
    time.sleep(0.02)  # here
"""


def test_library_is_skipped_as_a_whole(container: Container) -> None:
    """One decision is stored for its file, until a client sets a breakpoint there."""
    library = container.write("site-packages/library.py", LIBRARY)
    path = container.write("p.py", CALLS_MANY)
    container.start("python p.py", mode="listen")
    container.says("Listening")
    editor = container.attach({path: [marked(path)]})
    editor.resume(editor.stopped())
    stop = editor.stopped()
    frame = stop.client.request("stackTrace", threadId=stop.thread)["stackFrames"][0]["id"]
    debugger = "__import__('sys').modules['pydevd'].get_global_debugger()"
    asked = f"len({debugger}._apply_filter_cache)"
    decisions = stop.client.request("evaluate", expression=asked, frameId=frame)["result"]
    assert 0 < int(decisions) < 20
    editor.set_breakpoints(library, marked(library))
    editor.resume(stop)
    assert editor.stopped().path == library
