"""Let a debugger into this process, at the moment that the mode names.

    wait, listen    at once
    demand          when debug-attach asks for it, with a signal
    crash           likewise, and when an exception is about to end the process

Every process that a debugger can reach, or be asked to, has a record in /run/debugpy, by which the
health check and debug-attach know it.
"""

import _thread
import builtins
import os
import signal
import sys
import time

from debug_hook import command_line, say

FOLDER = "/run/debugpy"

# Without this, pydevd warns that it cannot trace the frozen copies of standard modules.
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")

# States of a TCP socket, as /proc/net/tcp has them (include/net/tcp_states.h of Linux).
ESTABLISHED, LISTEN = "01", "0A"

# How long a program waits for the port that an earlier one has left, in seconds.
PORT_TIMEOUT = 10

# What the record of this process says of it.
#   mode, port  as set in the environment
#   signal      the number of the signal that asks for a debugger, None in the modes wait and listen
#   debugger    whether a debugger is in it by now
#   failures    how often it could not be put there when debug-attach asked for it
#   error       why not, the last time
record = {
    "mode": "",
    "port": 0,
    "signal": None,
    "debugger": False,
    "failures": 0,
    "error": None,
}

# Held while a debugger is put into this process.
opening = _thread.allocate_lock()


# ---- Records ----


def started(pid):
    """Return when a process was started, in ticks since boot (proc(5)), or None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except OSError:
        return None


def user(pid):
    """Return the user that a process acts as, by its number."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[2]) for line in file if line.startswith("Uid:"))


def read(name, users):
    """Return what a file of FOLDER holds, or None if it belongs to none of these users.

    Every user of the container may write there, and a process acts on what it reads.
    """
    import json

    descriptor = os.open(os.path.join(FOLDER, name), os.O_RDONLY | os.O_NOFOLLOW)
    with open(descriptor) as file:
        return json.load(file) if os.fstat(descriptor).st_uid in users else None


def write(name, content, mode):
    """Write a file of FOLDER anew, under no name where another user could have put a link."""
    import json

    path = os.path.join(FOLDER, name)
    draft = f"{path}.{os.urandom(8).hex()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "w") as file:
            json.dump(content, file)
        os.replace(draft, path)
    except OSError:
        os.unlink(draft)
        raise


def records():
    """Return the records of all processes that run now, by pid, and remove those of ended ones."""
    found = {}
    for name in os.listdir(FOLDER):
        if not name.endswith(".json"):
            continue
        # A pid is used again, but not with the same start.
        pid, start, _ = name.split(".")
        try:
            if started(pid) != int(start):
                os.unlink(os.path.join(FOLDER, name))
                continue
            # Root's: of a process that has become another user since.
            content = read(name, {0, user(pid)})
        except OSError:
            continue  # another process was faster, or it is not for this user to read
        if content:
            found[int(pid)] = content
    return found


def write_record(**changes):
    """Change the record of this process."""
    record.update(changes)
    try:
        records()  # A program may start many processes in its time: those of ended ones go.
        write(f"{os.getpid()}.{started(os.getpid())}.json", record, 0o644)
    except OSError as error:
        say(f"cannot write to {FOLDER} ({error}), so `up --wait` will not return")


def address(record=record):
    """Return where an editor finds the process of a record, in words."""
    here = f"container {os.uname().nodename}, port {record['port']}"
    return os.environ.get("DEBUGPY_ADDRESS") or here


# ---- The port ----


def connections(port, state, owner=None):
    """Count the TCP sockets of the container that have a port and are in a state.

    owner: the number of the user whose sockets count; every user's unless given.

    To connect and see would be rude: an adapter would take that for a client.
    """
    count = 0
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{table}") as file:
                sockets = [line.split() for line in file][1:]
        except OSError:
            continue  # no IPv6
        count += sum(
            int(local.rpartition(":")[2], 16) == port
            and status == state
            and owner in (None, int(uid))
            for _, local, _, status, _, _, _, uid, *_ in sockets
        )
    return count


def claim(port):
    """Tell whether this program may have the port, once an earlier program has let go of it."""
    deadline = time.monotonic() + PORT_TIMEOUT
    announced = False
    while connections(port, LISTEN):
        owners = [pid for pid, other in records().items() if other["debugger"]]
        # A program that replaces itself (os.exec*) keeps its pid.
        if any(pid != os.getpid() for pid in owners) or time.monotonic() > deadline:
            if owners:
                holder, remedy = f"pid {owners[0]}", "DEBUGPY_TARGET picks another program"
            else:
                holder, remedy = "another process", "DEBUGPY_PORT names another port"
            goes_on = f"pid {os.getpid()} goes on without a debugger"
            say(f"port {port} is taken by {holder} ({remedy}); {goes_on}")
            return False
        if not announced:
            say(f"waiting for port {port}, which the program before this one has just left")
            announced = True
        time.sleep(0.05)
    return True


# ---- The debugger ----


def let_exec_be():
    """Undo pydevd's patch of os.exec*.

    It would have a Python that replaces this one connect to the adapter, which ends with this
    program. Without it, the hook starts anew in that one.
    """
    for name in [name for name in dir(os) if name.startswith("original_exec")]:
        setattr(os, name[len("original_") :], getattr(os, name))


def change_pydevd():
    """Have pydevd, which debugpy is made of, do two things otherwise in this process."""
    when_imported("_pydevd_bundle.pydevd_process_net_command_json", resolve_from_container)
    when_imported("_pydevd_bundle.pydevd_comm", send_at_once)


def when_imported(name, change):
    """Call change(module) once a module has been imported, which may be so already."""
    if name in sys.modules:
        change(sys.modules[name])
        return
    from importlib.machinery import PathFinder

    class Finder:
        @staticmethod
        def find_spec(wanted, path=None, target=None):
            if wanted != name:
                return None
            sys.meta_path.remove(Finder)
            spec = PathFinder.find_spec(wanted, path, target)
            if spec:
                execute = spec.loader.exec_module

                def exec_module(module):
                    execute(module)
                    change(module)

                spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Finder)


def resolve_from_container(protocol):
    """Have `"remoteRoot": "."` in a client's path mappings mean the container's working directory.

    pydevd takes that of the process at the moment when a client attaches, and a script may have
    gone elsewhere by then.
    """
    processor = getattr(protocol, "PyDevJsonCommandProcessor", None)
    resolve = getattr(processor, "_resolve_remote_root", None)
    if resolve is None:
        return  # a later pydevd may do this elsewhere: then its own way holds
    try:
        folder = os.readlink("/proc/1/cwd")
    except OSError:
        folder = os.getcwd()  # the first process is another user's

    def _resolve_remote_root(self, local_root, remote_root):
        return resolve(self, local_root, folder if remote_root == "." else remote_root)

    processor._resolve_remote_root = _resolve_remote_root


def send_at_once(comm):
    """Have what pydevd sends to the adapter not wait for more to send.

    It sends a message in two parts. Of these the second waits until the first is acknowledged, and
    Linux puts that off for 40 ms: at each answer to an editor.
    """
    start_client = getattr(comm, "start_client", None)
    if start_client is None:
        return  # a later pydevd may do this elsewhere

    def start_client_without_delay(host, port):
        from socket import IPPROTO_TCP, TCP_NODELAY

        connection = start_client(host, port)
        connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        return connection

    comm.start_client = start_client_without_delay


def has_network_of_machine():
    """Tell whether the container shares the network of its machine (`network_mode: host`).

    Then it sees the bridges to other containers, and eth0, if there is one, is not its own end of a
    pair, as it is where Docker runs in a container.
    """
    folder = "/sys/class/net"

    def number(name):
        with open(f"{folder}/eth0/{name}") as file:
            return int(file.read())

    try:
        names = os.listdir(folder)
        sees_bridge = any(os.path.exists(f"{folder}/{name}/bridge") for name in names)
        return sees_bridge and ("eth0" not in names or number("iflink") == number("ifindex"))
    except OSError:
        return False


def listen():
    """Have an adapter listen on the port for this process."""
    change_pydevd()
    import debugpy

    # Docker delivers what it publishes to the container's own address, which is not loopback.
    host = "127.0.0.1" if has_network_of_machine() else "0.0.0.0"
    debugpy.listen((host, record["port"]))
    let_exec_be()


def offer():
    """Note where the adapter of this process takes in others, for those of the same user."""
    import pydevd

    setup = pydevd.SetupHolder.setup
    adapter = {
        "pid": os.getpid(),
        "host": setup["client"],
        "port": setup["port"],
        "token": setup["access-token"],
    }
    try:
        write("adapter", adapter, 0o600)
    except OSError as error:
        say(f"cannot write to {FOLDER} ({error}), so no other process can share the port")


def offered():
    """Return what offer() has noted, or None if that adapter has ended or is another user's.

    Whoever is joined can run any code in this process, so its socket has to be this user's too:
    another one may have taken the port since.
    """
    try:
        adapter = read("adapter", {os.geteuid()})
    except OSError:
        return None
    if adapter and connections(adapter["port"], LISTEN, os.geteuid()):
        return adapter
    return None


def join(adapter):
    """Have another process's adapter debug this process too.

    For an editor, this process is then a child of that one.
    """
    change_pydevd()
    import debugpy.server.api  # which makes pydevd what it is for debugpy
    import pydevd

    pydevd.settrace(
        host=adapter["host"],
        port=adapter["port"],
        access_token=adapter["token"],
        ppid=adapter["pid"],
        suspend=False,
        patch_multiprocessing=True,
        wait_for_ready_to_run=False,
        notify_stdin=False,
        dont_trace_start_patterns=[os.path.dirname(debugpy.__file__)],
    )
    let_exec_be()


def open_port():
    """Put a debugger into this process, unless there is one; all processes share the port.

    Returns whether it has joined the adapter of another process.
    """
    import fcntl

    with opening:
        if record["debugger"]:
            return False
        folder = os.open(FOLDER, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)  # of all that crash at once, one listens
        try:
            adapter = offered()
            if adapter:
                # Before it joins: an editor that is attached may stop it at once.
                write_record(debugger=True)
                join(adapter)
            elif claim(record["port"]):
                listen()
                offer()
                write_record(debugger=True)
            else:
                raise OSError(f"port {record['port']} is taken")
        finally:
            fcntl.flock(folder, fcntl.LOCK_UN)
            os.close(folder)
        return bool(adapter)


# ---- When asked to ----


def answer():
    """Put a debugger into this process, which its record then tells, or why that failed.

    It is a thread of its own that does: the signal may have interrupted the main thread anywhere,
    while it held a lock or imported a module.
    """
    import threading

    # The debugger is to show the program's threads only.
    threading.current_thread().pydev_do_not_trace = True
    threading.current_thread().is_pydev_daemon_thread = True
    try:
        open_port()
    except Exception as error:
        write_record(failures=record["failures"] + 1, error=str(error) or repr(error))
    else:
        say(f"Listening, a client can attach at any time: {address()}")


def watch(itself=True):
    """Have this process, if `itself`, and those that it forks be ready for what may come."""
    free = (n for n in range(signal.SIGRTMAX, signal.SIGRTMIN, -1) if not signal.getsignal(n))
    record["signal"] = next(free)
    signal.signal(record["signal"], lambda *_: _thread.start_new_thread(answer, ()))
    if itself:
        write_record()
    if record["mode"] == "crash":
        catch_crashes()
    os.register_at_fork(after_in_child=watch_child)


def watch_child():
    """Go on in a process that was forked from one that is watched."""
    global opening
    opening = _thread.allocate_lock()
    # A child of a process that has a debugger is the debugger's.
    if not record["debugger"]:
        write_record(failures=0)
    if record["mode"] == "crash" and "multiprocessing.process" in sys.modules:
        catch_crash_of_child()


# ---- When it crashes ----

# The last exception that was shown to a debugger.
seen = None

# The exceptions for which a thread waits for a debugger.
waiting = []


def innermost(error):
    """Return the exception to look at: of a group (Python 3.11), the first in it."""
    while isinstance(error, getattr(builtins, "BaseExceptionGroup", ())):
        error = error.exceptions[0]
    return error


def show(error):
    """Stop the client at the line that raised an exception, with its variables."""
    import threading

    import debugpy

    if hasattr(debugpy, "trigger_exception_handler"):
        debugpy.trigger_exception_handler(error, as_uncaught=False)
        return

    # Before 1.8.22, which is all that Python 3.8 and 3.9 get, debugpy had no function for this.
    import pydevd

    debugger, thread = pydevd.get_global_debugger(), threading.current_thread()
    frame, trace = None, error.__traceback__
    while trace:
        if debugger.get_file_type(trace.tb_frame) != debugger.PYDEV_FILE:
            frame = trace.tb_frame
        trace = trace.tb_next
    info = debugger.set_additional_thread_info(thread)
    info.is_tracing += 1  # the debugger's own work is not to be traced
    try:
        exception = (type(error), error, error.__traceback__)
        debugger.do_stop_on_unhandled_exception(thread, frame, {}, exception)
    finally:
        info.is_tracing -= 1


def post_mortem(error):
    """Keep what an uncaught exception leaves until a client has attached and gone on from there."""
    global seen
    if error is seen or isinstance(error, (SystemExit, KeyboardInterrupt)):
        return
    seen = error
    error = innermost(error)
    if error.__traceback__ is None:
        return  # a main script that cannot be parsed: there is nothing to look at
    waiting.append(error)
    try:
        import debugpy

        if debugpy.is_client_connected():
            return  # its user has chosen which exceptions to stop at
        joined = open_port()
        say(f"{type(error).__name__} in pid {os.getpid()}, kept as it is")
        say(f"Waiting for client to attach... {address()}")
        while True:
            debugpy.wait_for_client()
            show(error)
            # The adapter attaches to a process that joins it while no client is there, only to
            # leave at once and let it run on.
            if debugpy.is_client_connected() or not joined:
                break
            joined = False
    except KeyboardInterrupt:
        pass  # it ends as it would have
    except Exception as problem:
        say(f"cannot show the {type(error).__name__} of pid {os.getpid()}: {problem!r}")
    finally:
        waiting.remove(error)


def catch_crashes():
    """Have every exception that nothing else has caught looked at, once Python has reported it."""
    import atexit
    import threading

    report, report_of_thread = sys.excepthook, threading.excepthook

    def excepthook(kind, error, traceback):
        report(kind, error, traceback)
        post_mortem(error)

    def excepthook_of_thread(arguments):
        report_of_thread(arguments)
        post_mortem(arguments.exc_value)

    def at_exit():
        # Libraries that make tracebacks pretty replace sys.excepthook. By now the main thread has
        # ended for pydevd, which leaves a process without threads.
        error = getattr(sys, "last_value", None)
        if error is not None and error is not seen:
            last = threading.Thread(target=post_mortem, args=[error])
            last.start()
            last.join()
        while waiting:  # in daemon threads, which would be cut off
            time.sleep(0.1)

    sys.excepthook, threading.excepthook = excepthook, excepthook_of_thread
    atexit.register(at_exit)


def catch_crash_of_child():
    """Do so in a child of multiprocessing, which reports its exception with traceback.print_exc."""
    import traceback
    from multiprocessing.process import BaseProcess

    report = traceback.print_exc

    def print_exc(*arguments, **options):
        report(*arguments, **options)
        if sys._getframe(1).f_code is BaseProcess._bootstrap.__code__:
            post_mortem(sys.exc_info()[1])

    traceback.print_exc = print_exc


# ---- At start-up ----


def is_main_interpreter():
    """Tell whether this is no sub-interpreter: those cannot be debugged."""
    try:
        signal.signal(signal.SIGRTMAX, signal.getsignal(signal.SIGRTMAX))
    except ValueError:
        return False
    return True


def start(mode):
    """Do in this process what the mode says."""
    if not is_main_interpreter():
        return
    record.update(mode=mode, port=int(os.environ.get("DEBUGPY_PORT") or 5678))
    if mode in ("demand", "crash"):
        watch()
    elif claim(record["port"]):
        listen()
        if mode == "listen":
            say(f"Listening, a client can attach at any time: {address()}")
        else:
            say(f"Waiting for client to attach... {address()}")
            say("To go on without a debugger, start it again with DEBUGPY_MODE=off")
        write_record(debugger=True)
        if mode == "wait":
            import debugpy

            debugpy.wait_for_client()


def follow(mode):
    """Do it in a child that multiprocessing has started, if its parent is watched.

    Under a debugger, children are the debugger's.
    """
    if mode in ("demand", "crash") and is_main_interpreter() and os.getppid() in records():
        record.update(mode=mode, port=int(os.environ.get("DEBUGPY_PORT") or 5678))
        # The fork server does nothing itself.
        watch(itself="--multiprocessing-fork" in command_line())
        if mode == "crash":
            catch_crash_of_child()
