"""The hub: the one process of a container that owns the debug port and knows what runs.

It listens for clients on the port, and for programs and the command `remora` on a Unix socket whose
name only one can have. It belongs to no program, and ends with the container.
"""

import asyncio
import json
import os
import resource
import signal
import socket
import sys

from remora import container, link, protocol
from remora.debuggee import Debuggee, Gone
from remora.hook import say, setting
from remora.session import Session

# Seconds that ...
ANSWER_TIMEOUT = 10  # a process may take until it registers, once it is asked
CHILD_TIMEOUT = 5  # a client may take until it has opened a session for a program
LOOK_INTERVAL = 1  # pass between two looks for processes that have not registered

# How many connections may be there that are no session yet.
STRANGERS = 100


class Hub:
    """All clients and programs of the container."""

    def __init__(self):
        self.mode = setting("MODE", "off")
        self.port = int(setting("PORT", "5678"))
        self.host = setting("HOST", "127.0.0.1")
        self.server = None
        self.root = None
        self.children = {}  # sessions by pid
        self.programs = {}  # those with an engine, by pid
        self.was_attached = False
        # Processes that have been asked for, and when; those that no session shows
        self.asked, self.untaken = {}, set()
        # Those that `remora attach` has named; None if it has not: then all
        self.chosen = None
        self.strangers = {}
        self.changed = asyncio.Condition()
        self._opening = asyncio.Lock()
        self._tasks = set()
        self._attached_name = None
        self._looking = None

    def address(self):
        """Return where an editor finds this container, in words."""
        here = f"container {os.uname().nodename}, port {self.port}"
        return setting("ADDRESS") or here

    def start(self, coroutine):
        """Run a coroutine in the background."""
        task = asyncio.get_event_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- Clients ----

    async def open_port(self):
        """Listen for clients. Raises OSError if the port is taken."""
        async with self._opening:
            if self.server is None:
                limit = protocol.HEADER_LIMIT
                self.server = await asyncio.start_server(
                    self._take_client, self.host, self.port, limit=limit, backlog=512
                )

    async def _take_client(self, reader, writer):
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        session = Session(self, reader, writer)
        self.strangers[session] = True
        while len(self.strangers) > STRANGERS:
            next(iter(self.strangers)).close()
            self.strangers.pop(next(iter(self.strangers)))
        try:
            await session.serve()
        finally:
            self.strangers.pop(session, None)

    async def program_for(self, session):
        """Return the program that a session is to show first, or None if there is none yet.

        Raises Gone if the session cannot be.
        """
        if session.is_closed:
            raise Gone()
        if session.pid is not None:
            program = self.programs.get(session.pid)
            if program is None or program.session or self.root is None:
                raise Gone()
            self.strangers.pop(session, None)
            self.children[session.pid] = session
            return program
        if self.root is not None:
            if self.root.is_configured or not self.root.is_attached:
                raise Gone("the container is already being debugged by another client")
            self.root.close()
            self.left(self.root)
        self.strangers.pop(session, None)
        self.root = session
        self._show_attached(True)
        return await self._first_program(session)

    async def _first_program(self, session):
        """Return the oldest program, once those that run have been asked for their engines."""
        asked = [] if any(p.kept for p in self.programs.values()) else self.ask()
        loop = asyncio.get_event_loop()
        deadline = loop.time() + ANSWER_TIMEOUT
        while True:
            if self.root is not session:
                raise Gone()  # it has left meanwhile
            found = min(self.programs.values(), key=lambda p: (not p.kept, p.started), default=None)
            missing = [pid for pid, started in asked if container.started(pid) == started]
            missing = [pid for pid in missing if pid not in self.programs]
            is_oldest = found and not any(started < found.started for _, started in asked)
            late = loop.time() >= deadline
            if found and (found.kept or is_oldest or not missing or late):
                return found
            if not missing or late:
                if missing:
                    session.say(
                        f"pid {missing[0]} has not answered yet: it is inside a library that is"
                        " not Python. Its breakpoints are set when it is back in Python."
                    )
                return None
            async with self.changed:
                try:
                    await asyncio.wait_for(self.changed.wait(), 0.5)
                except asyncio.TimeoutError:
                    pass

    def configured(self, session):
        """Give all programs what the client has asked for, now that it has said all."""
        if session is not self.root:
            return
        self.was_attached = True
        for program in list(self.programs.values()):
            if program.session is None:
                self._place(program)
        self._looking = self.start(self._look())

    def left(self, session, terminate=False):
        """Note that a client has ended a session."""
        self.strangers.pop(session, None)
        if session.pid is not None and self.children.get(session.pid) is session:
            del self.children[session.pid]
        program, session.program = session.program, None
        if session is not self.root:
            if program:
                self.untaken.add(program.pid)
                self._release(program, terminate)
            return
        self.root = None
        if self._looking:
            self._looking.cancel()
        self._show_attached(False)
        self.untaken.clear()
        for child in list(self.children.values()):
            child.program = None
            child.terminate()
        self.children.clear()
        for program in list(self.programs.values()):
            self._release(program, terminate)

    def _release(self, program, terminate=False):
        """Have a program go on without its client."""
        if terminate:
            program.send("disconnect", {"terminateDebuggee": True})
        elif program.kept and not program.is_configured:
            program.reset()  # which goes on waiting
        else:
            program.close()

    def _show_attached(self, is_attached):
        """Let processes that start know that a client is there, by a name: see link.py."""
        if self._attached_name:
            self._attached_name.close()
            self._attached_name = None
        if is_attached:
            self._attached_name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._attached_name.bind("\0" + link.name(link.ATTACHED))
            except OSError:
                pass  # another process has the name, so it is there all the same

    # ---- Programs ----

    async def _take_local(self, reader, writer):
        """Take in a program, or answer the command `remora`."""
        try:
            pid, user, _ = link.peer(writer.get_extra_info("socket"))
            # Of other users only root's hub takes anything, and from root all do.
            if pid == 0 or (user not in (0, os.geteuid()) and os.geteuid() != 0):
                return
            line = await asyncio.wait_for(reader.readline(), ANSWER_TIMEOUT)
            said = json.loads(line.decode())
            if not isinstance(said, dict):
                return
            if "ask" in said:
                await self._answer_command(writer, said)
            else:
                await self._take_program(reader, writer, pid, said)
        except (OSError, ValueError, KeyError, TypeError, asyncio.TimeoutError, EOFError):
            pass  # it has left, or makes no sense
        except (protocol.ProtocolError, RecursionError):
            pass
        finally:
            writer.close()

    async def _take_program(self, reader, writer, pid, said):
        """Take in a program. It says: command, and why it comes.

        held      mode `wait` holds it; held_if: if that is the mode of the hub
        crashed   an exception is about to end it
        asked     it was asked to come
        """
        kept = ""
        if said.get("crashed"):
            kept = "crash"
        elif said.get("held") or said.get("held_if") == self.mode:
            kept = "" if self.was_attached else "wait"
        lines = []
        if kept:
            try:
                await self.open_port()
            except OSError as error:
                lines.append(f"{self._taken(error)}, pid {pid} goes on without a debugger")
                kept = ""
        asked = bool(said.get("asked"))
        if asked and (pid in self.programs or not (self.chosen is None or pid in self.chosen)):
            wanted = False
        else:
            wanted = bool(kept) or bool(self.server and (self.root or asked))
        if kept and self.root is None:
            lines.append(f"Waiting for client to attach... {self.address()}")
            if kept == "wait":
                lines.append("To go on without a debugger, start it again with REMORA_MODE=off")
        writer.write(json.dumps({"engine": wanted, "say": lines}).encode() + b"\n")
        await writer.drain()
        if not wanted:
            return
        command = said.get("command") or container.command_of(pid)
        command = [str(part) for part in command]
        if pid in self.programs:
            self._ended(self.programs[pid])  # it has replaced itself
        program = Debuggee(reader, writer, pid, container.started(pid) or 0, command, kept)
        self.programs[pid] = program
        self.asked.pop(pid, None)
        try:
            self._place(program)
            async with self.changed:
                self.changed.notify_all()
            await program.pump()
        finally:
            self._ended(program)

    def _place(self, program):
        """Give a program that has come a session, and the breakpoints of the client."""
        root = self.root
        if root is None or not root.is_configured:
            if root and not program.kept:
                asyncio.get_event_loop().call_later(CHILD_TIMEOUT, self._let_go, program, False)
            return
        expecting = self.children.get(program.pid)
        if root.program is None:
            root.take(program)
        elif expecting and expecting.program is None:
            expecting.take(program)
        else:
            if program.kept != "crash":
                program.configure(root.memory)
            self._offer(program)

    def _offer(self, program):
        """Have the client open a session for a program that runs beside that of the root."""
        root = self.root
        configuration = dict(root.memory.attach)
        port = configuration.pop("port", self.port)
        host = configuration.pop("host", "127.0.0.1")
        configuration.setdefault("connect", {"host": host, "port": port})
        configuration.update(name=f"pid {program.pid}", subProcessId=program.pid)
        initialize = root.memory.initialize
        # VS Code ties the session to the root by this event, so that one press of Stop ends both.
        if initialize.get("supportsStartDebuggingRequest") and initialize.get("clientID") not in (
            "vscode",
            "code-server",
        ):
            root.request("startDebugging", {"request": "attach", "configuration": configuration})
        else:
            root.event("debugpyAttach", dict(configuration, request="attach"))
        asyncio.get_event_loop().call_later(CHILD_TIMEOUT, self._let_go, program, True)

    def _let_go(self, program, offered):
        """Have a program run on that no session shows."""
        root = self.root
        is_there = self.programs.get(program.pid) is program
        if not is_there or program.session or root is None or program.kept == "crash":
            return
        if root.is_configured and not offered:
            return
        self.untaken.add(program.pid)
        program.close()
        if offered:
            text = f"pid {program.pid} runs on without a debugger: the client opened no session"
            root.say(f"{text} for it ({' '.join(program.command)[:200]})")
            log(f"{text} for it")

    def _ended(self, program):
        """Note that a program has ended, or its engine."""
        if self.programs.get(program.pid) is not program:
            return
        del self.programs[program.pid]
        session, program.session = program.session, None
        if session and not session.is_closed:
            session.lose(program)
            if session is self.root:
                self._fill_root(program)
            elif program.is_ending or container.started(program.pid) != program.started:
                session.terminate()
            else:
                # It may be about to replace itself.
                asyncio.get_event_loop().call_later(ANSWER_TIMEOUT, self._expire, session)
        program.fail()
        program.close()

    def _expire(self, session):
        if session.program is None:
            session.terminate()

    def _fill_root(self, ended):
        """Show another program in the root session, if one waits for a session."""
        if ended.is_ending and ends_container(ended.pid):
            self.root.terminate()
            return
        waiting = [p for p in self.programs.values() if p.session is None]
        if waiting:
            self.root.take(min(waiting, key=lambda p: p.started))
        else:
            self.untaken.discard(ended.pid)
            if ended.is_ending:
                self.asked[ended.pid] = (ended.started, asyncio.get_event_loop().time())
            self.ask(also=self.untaken)

    def ask(self, also=()):
        """Ask processes for their engines that can be asked and have not come by themselves.

        also: pids of those that no session has shown. Returns the pids asked, with their starts.
        """
        now = asyncio.get_event_loop().time()
        found = []
        for pid in container.pids():
            is_chosen = self.chosen is None or pid in self.chosen
            skip = pid in self.untaken and pid not in also
            if pid in self.programs or skip or not is_chosen or pid == os.getpid():
                continue
            started = container.started(pid)
            since = self.asked.get(pid, (None, 0))
            if started is None or not container.can_be_asked(pid):
                continue
            found.append((pid, started))
            if since[0] == started and now - since[1] < ANSWER_TIMEOUT:
                continue
            try:
                os.kill(pid, container.SIGNAL)
                self.asked[pid] = (started, now)
            except OSError:
                found.pop()  # another user's, or it has ended
        return found

    async def _look(self):
        """Ask those that came too late to be asked, for as long as the client is there."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            gone = [pid for pid in self.asked if container.started(pid) is None]
            for pid in gone:
                del self.asked[pid]
            self.ask(also=self.untaken if self.root.program is None else ())

    # ---- The command ----

    async def _answer_command(self, writer, said):
        """Answer the command `remora`. said: see command.py."""
        answer = {}
        if said["ask"] == "attach":
            answer = await self._prepare(said.get("pids") or None)
        answer.update(
            mode=self.mode,
            port=self.port if self.server else None,
            address=self.address(),
            is_attached=bool(self.root and self.root.is_configured),
            programs={
                pid: {"kept": p.kept, "is_shown": p.session is not None}
                for pid, p in self.programs.items()
            },
        )
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()

    async def _prepare(self, chosen):
        """Have the running programs, or those of these pids, ready for a client."""
        try:
            await self.open_port()
        except OSError as error:
            return {"error": self._taken(error)}
        self.chosen = set(chosen) if chosen else None
        asked = self.ask(also=self.untaken)
        loop = asyncio.get_event_loop()
        deadline = loop.time() + ANSWER_TIMEOUT
        while loop.time() < deadline:
            missing = [pid for pid, start in asked if container.started(pid) == start]
            missing = [pid for pid in missing if pid not in self.programs]
            if not missing:
                break
            async with self.changed:
                try:
                    await asyncio.wait_for(self.changed.wait(), 0.2)
                except asyncio.TimeoutError:
                    pass
        return {}

    def _taken(self, error):
        reason = getattr(error, "strerror", None) or str(error)
        return (
            f"port {self.port} cannot be opened ({reason}): another process may have it;"
            " REMORA_PORT names another port"
        )

    async def run(self, is_ready):
        """Serve until the container ends. is_ready: what to close once programs may come."""
        try:
            name = "\0" + link.name(link.HUB)
            # A program does not wait if the queue is full: it runs on without a debugger.
            local = await asyncio.start_unix_server(
                self._take_local, name, limit=protocol.LIMIT, backlog=512
            )
        except OSError:
            return  # there is a hub already
        if self.mode in ("wait", "listen"):
            try:
                await self.open_port()
            except OSError as error:
                say(f"{self._taken(error)}. Programs run without a debugger")
                return
            if self.mode == "listen":
                say(f"Listening, a client can attach at any time: {self.address()}")
        os.close(is_ready)
        leave_terminal()
        async with local:
            await asyncio.Event().wait()


def ends_container(pid):
    """Tell whether the container ends with a process: PID 1, or the one that an init waits for."""
    if pid == 1:
        return True
    init = os.path.basename((container.command_of(1) or [""])[0])
    return container.parent_of(pid) == 1 and init in (
        "docker-init",
        "tini",
        "dumb-init",
        "catatonit",
    )


def log(text):
    """Print a line to the container's log, if this user may."""
    try:
        descriptor = os.open("/proc/1/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return
    try:
        os.write(descriptor, f"remora: {text}\n".encode(errors="backslashreplace"))
    except OSError:
        pass
    finally:
        os.close(descriptor)


def leave_terminal():
    """Let go of what the process that started the hub had open: a pipe would never end."""
    nothing = os.open(setting("LOG", os.devnull), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def main(is_ready):
    """Be the hub of this container. is_ready: see Hub.run()."""
    # The settings are those of the container, whatever has become of them on the way here.
    for name, value in container.environment_of(1).items():
        if name.startswith(("REMORA_", "DEBUGPY_")):
            os.environ.setdefault(name, value)
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor != is_ready:
            try:
                os.close(descriptor)
            except OSError:
                pass  # that of the listing
    os.set_inheritable(is_ready, False)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.exit(asyncio.run(_run(is_ready)))


async def _run(is_ready):
    await Hub().run(is_ready)
