"""The debug layer with other versions of pydevd: later ones, and those that a program brings."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import dap
from support.container import Container, imported
from support.ports import free_port
from support.project import line, marked, wait_until

PROGRAM = """
import os

os.chdir("elsewhere")
n = 1
n += 1  # here
print("done", n, flush=True)
"""

# The names that changes.py replaces in pydevd, and whether a program can be debugged without the
# change. Names of request handlers are left out, because the protocol defines them.
REPLACED = {
    "start_client": False,
    "wait_for_ready_to_run": False,
    "patch_new_process_functions": False,
    "PREIMPORT": False,
    "_terminate_on_socket_close": False,
    "do_wait_suspend": True,
    "set_tracing_for_untraced_contexts": True,
    "do_it": True,
    "_thread_events": True,
    "initialize_network": True,
    "apply_files_filter": True,
    "fix_top_level_trace_and_get_trace_func": True,
    "_abs_and_canonical_path": False,
    "map_file_to_client": False,
    "MoreItems": True,
    "get_type": True,
    "get_var_data": True,
    "long_iter_types": True,
    "_repr_dict": True,
    "_repr_other": True,
    "timeout_tracker": True,
    "_init_plugin_breaks": True,
    "get_plugin_lazy_init": True,
}


@pytest.fixture
def later(debugged_python: Path, tmp_path: Path, request) -> Iterator[Container]:
    """A container whose pydevd uses another name for what changes.py replaces."""
    image = tmp_path / "image"
    shutil.copytree(debugged_python.parents[2], image, symlinks=True)
    debugpy = image / "remora/debugpy"
    source = (debugged_python.parents[2] / "remora/debugpy").resolve()
    debugpy.unlink() if debugpy.is_symlink() else shutil.rmtree(debugpy)
    # Compiled modules would still have the old name.
    shutil.copytree(source, debugpy, ignore=shutil.ignore_patterns("*.so", "*.pyc"))
    for path in debugpy.glob("**/*.py"):
        text, name = path.read_bytes(), request.param.encode()
        if name in text:
            path.write_bytes(re.sub(rb"\b%b\b" % name, b"renamed", text))
    python = image / "venv/bin/python"
    (site_packages,) = image.glob("venv/lib/python3*/site-packages")
    for start_up in site_packages.glob("remora.pth"):
        start_up.write_text(
            start_up.read_text().replace(str(debugged_python.parents[2]), str(image))
        )
    container = Container(python, tmp_path)
    yield container
    container.stop()


@pytest.mark.parametrize("later", REPLACED, indirect=True, ids=str)
def test_later_pydevd_may_lack_what_is_changed(later: Container, request) -> None:
    """An improvement may be missing. Without a necessary part, a program runs on and says why."""
    (later.folder / "elsewhere").mkdir()
    path = later.write("p.py", PROGRAM)
    later.start("python p.py")
    name = request.node.callspec.params["later"]
    if REPLACED[name]:
        editor = later.attach({path: [marked(path)]})
        stop = editor.stopped()
        assert (stop.path, stop.line) == (path, marked(path))
        editor.resume(stop)
    later.says("done 2")
    assert later.exit_code() == 0
    (said,) = [text for text in later.lines if "without a debugger" in text] or [""]
    assert (name in said) != REPLACED[name]


# ---- A program's own debugpy ----

VERSIONS = ["1.6.7", "1.8.0", "1.8.14", "1.8.22"]


@pytest.fixture(scope="module", params=VERSIONS)
def own(request, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The setting with which programs find a debugpy of their own, and its version."""
    folder = tmp_path_factory.mktemp("own")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, f"debugpy=={request.param}"], check=True)
    return {"PYTHONPATH": str(folder), "VERSION": request.param}


EXPLICIT = """
import os, sys
import debugpy

assert debugpy.__version__ == os.environ["VERSION"] or sys.argv[1] == "wait"

def work(a):
    debugpy.breakpoint()
    a += 1  # after breakpoint()
    return a  # here

debugpy.listen(("0.0.0.0", int(os.environ["REMORA_PORT"])))
debugpy.breakpoint()
print("connected", debugpy.is_client_connected(), flush=True)
debugpy.wait_for_client()
work(1)
print("done", debugpy.is_client_connected(), flush=True)
"""


@pytest.mark.parametrize("mode", ["listen", "wait"])
def test_own_calls_of_debugpy_are_answered(container: Container, own, mode: str) -> None:
    path = container.write("p.py", EXPLICIT)
    container.start(f"python p.py {mode}", mode=mode, **own)
    if mode == "listen":
        container.says("connected False")
        container.says("Waiting for client to attach...")
    editor = container.attach({path: [marked(path)]})
    if mode == "wait":
        editor.resume(editor.stopped())  # at the first breakpoint()
    for expected in (line(path, "# after breakpoint()"), marked(path)):
        stop = editor.stopped()
        assert (stop.path, stop.line) == (path, expected)
        editor.resume(stop)
    container.says("done True")
    assert container.exit_code() == 0


def test_own_listen_at_another_port_is_ignored_while_a_client_is_there(
    container: Container,
) -> None:
    code = "import debugpy\nn = debugpy.listen(1)\nprint(n)  # here\n"
    path = container.write("p.py", code)
    container.start("python p.py")
    editor = container.attach({path: [marked(path)]})
    stop = editor.stopped()
    assert stop.line == marked(path)
    said = f"does not listen at another port: a client of port {container.port} debugs it already"
    container.says(said)
    editor.resume(stop)
    assert container.exit_code() == 0


def test_own_listen_starts_no_child_session(container: Container) -> None:
    code = "import debugpy, os\ndebugpy.listen(int(os.environ['REMORA_PORT']))\nn = 1  # here\n"
    path = container.write("p.py", code)
    container.start("python p.py")
    editor = container.attach({path: [marked(path)]})
    stop = editor.stopped()
    assert stop.line == marked(path) and editor.clients == [stop.client]


def test_own_session_at_another_port_stops_at_breakpoint(container: Container, own) -> None:
    path = container.write("p.py", "breakpoint()\nn = 1  # here\n")
    container.port = free_port()  # where the client should find it, instead of the hub's port
    listen = f"-m debugpy --listen {container.port} --wait-for-client"
    container.start(f"python {listen} p.py", mode="listen", REMORA_PORT=str(free_port()), **own)
    editor = container.attach({})
    stop = editor.stopped()
    assert (stop.path, stop.line) == (path, marked(path))
    editor.resume(stop)
    assert container.exit_code() == 0


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydevd itself traces all threads")
def test_threads_are_found_without_the_programs_ctypes() -> None:
    """The program may call the same functions of Python, with types of its own."""
    with imported("remora.engine.tracing") as tracing:
        assert tracing.cut(threading.get_ident()) in tracing.states()
    for name in ("PyThreadState_Get", "PyThreadState_Next", "PyInterpreterState_ThreadHead"):
        function = getattr(ctypes.pythonapi, name)
        assert (function.restype, function.argtypes) == (ctypes.c_int, None)


# What the program's own debugger steps through, where the program imports something.
STEPPED = """
import debugpy, os, sys

files = set()
sys.settrace(lambda frame, *_: files.add(frame.f_code.co_filename))
import colorsys
sys.settrace(None)
print("imported", len(files) > 0, [x for x in files if "/_remora/" in x], flush=True)
"""


def test_own_debugger_does_not_stop_in_the_layer(container: Container, own) -> None:
    container.write("p.py", STEPPED)
    container.start("python p.py", mode="listen", **own)
    assert container.exit_code() == 0
    container.says("imported True []")


LOADED = """
import os, time
import debugpy.server.api

debugpy.configure(subProcess=False)
if os.environ.get("OWN_PORT"):
    debugpy.listen(int(os.environ["OWN_PORT"]))
print("up", flush=True)
n = 0
while not os.path.exists("end"):
    time.sleep(0.05)  # here
print("done", flush=True)
"""


@pytest.mark.parametrize("listens", [False, True])
def test_own_pydevd_that_is_loaded_is_used_or_reported(
    container: Container, own, listens: bool
) -> None:
    """It is used if it works and no one else uses it. If not, a line and the status say why."""
    path = container.write("p.py", LOADED)
    port = {"OWN_PORT": str(free_port())} if listens else {}
    container.start("exec python p.py", mode="listen", **own, **port)
    container.says("up")
    editor = container.attach({path: [marked(path)]})
    if own["VERSION"] == VERSIONS[-1] and not listens:
        stop = editor.stopped()
        assert (stop.path, stop.line) == (path, marked(path))
        return
    container.says(f"debugpy {own['VERSION']}")
    version = own["VERSION"]
    expected = f"cannot be debugged: it has loaded debugpy {version} itself"
    if version == VERSIONS[-1]:
        expected = (
            f"cannot be debugged: it is debugged by debugpy {version}, which it has started itself"
        )
    (said,) = [text for text in container.lines if "cannot be debugged" in text]
    assert expected in said
    assert "has not answered yet" not in container.traffic()
    reason = said.partition("cannot be debugged: ")[2]
    wait_until(lambda: reason in container.remora("status").stdout)
    assert len(editor.clients) == 1
    is_helper = "it is a helper of debugpy, and runs no code of the project"
    assert (is_helper in container.remora("status").stdout) == listens
    done = container.remora("attach")
    assert (done.returncode, reason in done.stdout) == (1, True), done
    container.write("end", "")
    assert container.exit_code() == 0
    assert container.lines[-1] == "done"


# The program imports the next file of its debugpy only once the layer's thread, which a client has
# asked for, waits for the import or has ended.
IMPORTING = """
import os, sys, time

def on_event(event, arguments):
    if event != "exec" or not arguments[0].co_filename.endswith(sys.argv[1]):
        return
    print("imports", flush=True)
    has_come, own = False, sys._getframe()
    while True:
        frames = [f for f in sys._current_frames().values() if f is not own]
        has_come = has_come or len(frames) > 0
        if has_come and all(f.f_code.co_name == "acquire" for f in frames):
            return
        time.sleep(0.01)

sys.addaudithook(on_event)
import debugpy.server.api
print("up", flush=True)
while not os.path.exists("end"):
    time.sleep(0.05)  # here
print("done", flush=True)
"""


@pytest.mark.parametrize("file", ["_pydevd_bundle/pydevd_constants.py", "/pydevd.py"])
def test_own_pydevd_that_is_being_loaded_is_waited_for(
    container: Container, own, file: str
) -> None:
    """Wait for it: half of a pydevd is useless, and cannot be told from a foreign one."""
    path = container.write("p.py", IMPORTING)
    container.start(f"exec python p.py {file}", mode="listen", **own)
    container.says("imports")
    editor = container.attach({path: [marked(path)]})
    if own["VERSION"] == VERSIONS[-1]:
        stop = editor.stopped()
        assert (stop.path, stop.line) == (path, marked(path))
        editor.set_breakpoints(path)
        editor.resume(stop)
    container.write("end", "")
    assert container.exit_code() == 0
    said = [text for text in container.lines if "cannot be debugged" in text]
    reason = f"it has loaded debugpy {own['VERSION']} itself"
    assert [reason in text for text in said] == [True] * (own["VERSION"] != VERSIONS[-1])


CRASH = """
import debugpy.server.api

def work(a):
    b = a + 1
    raise ValueError(b)  # here

work(1)
"""


def test_crash_is_kept_if_the_own_pydevd_works(container: Container, own) -> None:
    path = container.write("p.py", CRASH)
    container.start("exec python p.py", mode="crash", **own)
    if own["VERSION"] != VERSIONS[-1]:
        assert container.exit_code() == 1
        container.says(f"cannot be debugged: it has loaded debugpy {own['VERSION']} itself")
        return
    container.shows_crash(path)
    assert container.exit_code() == 1


# The parts of PyCharm's pydevd that matter here.
PYCHARM = """
def get_global_debugger():
    return None
"""

BREAKPOINT = """
import os, time
import pydevd

while not os.path.exists("end"):
    time.sleep(0.05)  # here
breakpoint()
print("done", flush=True)
"""


@pytest.mark.parametrize("mode", ["listen", "demand"])
def test_own_pydevd_that_is_not_debugpys_is_reported(container: Container, mode: str) -> None:
    container.write("pydevd.py", PYCHARM)
    path = container.write("p.py", BREAKPOINT)
    container.start("exec python p.py", mode=mode)
    wait_until(lambda: " runs " in container.remora("status").stdout)
    reason = "cannot be debugged: it has loaded a pydevd itself that is not debugpy's"
    if mode == "listen":
        container.attach({path: [marked(path)]})
    else:
        assert reason in container.remora("attach").stdout
    container.says(reason)
    container.write("end", "")
    assert container.exit_code() == 0
    assert container.lines[-1] == "done"


# ---- Calls of pydevd that mean the debugger of another editor ----

SETTRACE = """
import sys
import {module} as pydevd

def work(a):
    pydevd.settrace("127.0.0.1", port={port})
    a += 1  # after settrace()
    pydevd.settrace("127.0.0.1", port={port}, suspend=False)
    return a  # here

print("done", work(1), flush=True)
if "twice" in sys.argv:
    print("done", work(2), flush=True)
"""


@pytest.fixture(scope="module", params=["pydevd", "pydevd_pycharm"])
def for_another(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """A module with settrace(), and the setting with which programs find it."""
    folder = tmp_path_factory.mktemp("for-another")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, "pydevd==3.5.0"], check=True)
    # All that PyCharm's own module contains. Its package has no wheel and takes minutes to build.
    (folder / "pydevd_pycharm.py").write_text("from pydevd import settrace, stoptrace\n")
    return request.param, {"PYTHONPATH": str(folder)}


def test_settrace_is_a_breakpoint_with_client(container: Container, for_another) -> None:
    module, setting = for_another
    path = container.write("p.py", SETTRACE.format(module=module, port=free_port()))
    container.start("exec python p.py", **setting)
    editor = container.attach({path: [marked(path)]})
    for expected in (line(path, "# after settrace()"), marked(path)):
        stop = editor.stopped()
        assert (stop.path, stop.line) == (path, expected)
        editor.resume(stop)
    assert container.exit_code() == 0
    assert container.lines[-1] == "done 2"


def test_settrace_is_ignored_without_client(container: Container, for_another) -> None:
    module, setting = for_another
    container.write("p.py", SETTRACE.format(module=module, port=free_port()))
    container.start("exec python p.py twice", mode="listen", **setting)
    assert container.exit_code() == 0
    container.says("done 3")
    words = "goes on after pydevd.settrace(), which could not connect"
    said = [text for text in container.lines if words in text]
    assert len(said) == 1 and "done 2" in container.lines


def test_settrace_connects_to_another_debugger_that_listens(
    container: Container, for_another
) -> None:
    module, setting = for_another
    with socket.create_server(("127.0.0.1", 0)) as another:
        another.settimeout(dap.TIMEOUT)
        container.write("p.py", SETTRACE.format(module=module, port=another.getsockname()[1]))
        container.start("exec python p.py", mode="listen", **setting)
        another.accept()[0].close()


# ---- A kernel of Jupyter, whose own debugger is debugpy ----

KERNEL = """
import os, sys, time
from jupyter_client import BlockingKernelClient

PATH = os.path.abspath("kernel.json")

def has_begun():
    return os.path.exists(PATH) and open(PATH).read().endswith("}")

while not has_begun():
    time.sleep(0.05)
client = BlockingKernelClient(connection_file=PATH)
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=60)

def debug(seq, command):
    content = {"type": "request", "seq": seq, "command": command, "arguments": {}}
    message = client.session.msg("debug_request", content)
    client.control_channel.send(message)
    while True:
        answer = client.control_channel.get_msg(timeout=60)
        if answer["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            return answer["content"].get("success")

print("initialize", debug(1, "initialize"), "attach", debug(2, "attach"), flush=True)
client.execute("6 * 7")
print("execute", client.get_shell_msg(timeout=60)["content"]["status"], flush=True)
client.shutdown()
"""


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The setting with which programs find ipykernel."""
    folder = tmp_path_factory.mktemp("jupyter")
    python = os.environ.get("DEBUGGED_PYTHON") or sys.executable
    pip = [python, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    subprocess.run([*pip, "ipykernel>=6,<8", "debugpy==1.8.22"], check=True)
    return {"PYTHONPATH": str(folder), "IPYTHONDIR": str(folder / "profile")}


@pytest.mark.parametrize("mode", ["wait", "listen"])
def test_debugger_of_a_kernel_is_refused_beside_a_client(
    container: Container, jupyter: dict[str, str], mode: str
) -> None:
    """The client is refused instead of waiting without end. The kernel works; a line says why."""
    container.write("client.py", KERNEL)
    command = f"exec python -m ipykernel_launcher -f {container.folder}/kernel.json"
    container.start(command, mode=mode, **jupyter)
    container.attach({})
    done = container.execute("python", "client.py", REMORA_MODE="off")
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == ["initialize False attach None", "execute ok"]
    (said,) = [text for text in container.lines if "does not listen at another port" in text]
    assert f"a client of port {container.port} debugs it already" in said
    assert container.exit_code() == 0
