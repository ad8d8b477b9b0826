"""The process of the hub: its sockets for clients, programs and the command `remora`.

Clients connect to the port; programs and the command connect to a Unix socket, whose name only one
process can have. The hub belongs to no program, and ends with the container.
"""

import asyncio
import json
import os
import socket

from .. import container, link, ranks
from ..hook import say, setting
from . import daemon, protocol
from .calls import ANSWER_TIMEOUT
from .debuggee import Debuggee
from .hub import Hub
from .keeping import Keeping
from .moments import Moments
from .session import Session

# How many connections may exist that are not a session yet. The oldest are closed.
STRANGERS = 100


class Server:
    """Accepts all connections to the hub."""

    def __init__(self):
        self.mode = setting("MODE", "off")
        self.port = int(setting("PORT", "5678"))
        self.host = setting("HOST", "127.0.0.1")
        if container.has_network_of_machine():
            self.host = "127.0.0.1"  # another address would be open to the machine's neighbours
        self.hub = Hub(self.port)
        self.port_server, self.moments, self.has_warned = None, Moments(self.hub.programs), False
        self.keeping = Keeping(self.hub.programs)
        self._opening = asyncio.Lock()
        self._strangers = []

    def address(self):
        """Return in words where an editor finds this container."""
        here = f"container {os.uname().nodename}, port {self.port}"
        return setting("ADDRESS") or here

    # ---- Clients ----

    async def _open_port(self):
        """Listen for clients. Returns {"error": text} if that fails, else {}."""
        async with self._opening:
            try:
                if self.port_server is None:
                    limit = protocol.HEADER_LIMIT
                    self.port_server = await asyncio.start_server(
                        self._take_client, self.host, self.port, limit=limit, backlog=512
                    )
                return {}
            except OSError as error:
                # asyncio's own text is long. Only a number above 0 is one of the kernel's.
                is_named = (error.errno or 0) > 0
                reason = os.strerror(error.errno) if is_named else error.strerror or str(error)
                return {
                    "error": f"port {self.port} cannot be opened ({reason}): another process may"
                    " have it; REMORA_PORT names another port"
                }

    async def _take_client(self, reader, writer):
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        session = Session(self.hub, reader, writer)
        self._strangers = [s for s in self._strangers if s.is_stranger and not s.is_ended]
        for oldest in self._strangers[:-STRANGERS]:
            oldest.close()
        self._strangers.append(session)
        await session.serve()

    # ---- Programs ----

    async def _take_local(self, reader, writer):
        """Take in a program, or answer the command `remora`."""
        try:
            pid, user, _ = link.peer(writer.get_extra_info("socket"))
            # Only root's hub accepts another user's programs. Every hub accepts root's.
            if pid == 0 or (user not in (0, os.geteuid()) and os.geteuid() != 0):
                return
            said = json.loads((await asyncio.wait_for(reader.readline(), ANSWER_TIMEOUT)).decode())
            if not isinstance(said, dict):
                return
            if said.get("ask") == "session":
                await Session(self.hub, reader, writer).serve()
            elif "ask" in said:
                await self._answer_command(writer, said)
            else:
                await self._take_program(reader, writer, pid, said)
        except (OSError, EOFError, asyncio.TimeoutError):
            pass  # the other side has left
        except (protocol.ProtocolError, ValueError, KeyError, TypeError, RecursionError):
            pass  # the message makes no sense
        finally:
            writer.close()

    async def _take_program(self, reader, writer, pid, said):
        """Handle the first message (`said`) of a program that has connected: see _let_in()."""
        # A program whose debugger cannot be used says that instead.
        answers = said.get("asked") or "problem" in said
        if answers and self.moments.is_asked(pid):
            await self.moments.take(pid, reader, writer)
        elif "problem" in said:
            self.hub.calls.note_problem(pid, str(said["problem"]))
        elif "crash" in said:
            await self.keeping.take(reader, writer, pid, said)
        else:
            await self._let_in(reader, writer, pid, said)

    async def _let_in(self, reader, writer, pid, said):
        """Take in a program. said: its command line, `command`, and why it has connected:

        held        mode `wait` holds it; held_if: it is held if this is the mode of the hub
        rank        its rank, if it is held and there are other ranks
        crashed     an exception is about to end it
        recorded    it shows a dump: see crashes/opening.py
        asked       the hub has asked it; only_dumps: it has connected already
        """
        kept, lines = self._kept(said), []
        if kept:
            error = (await self._open_port()).get("error")
            if error:
                kept, lines = "", [f"{error}, pid {pid} goes on without a debugger"]
            else:
                lines = self._lines(kept, pid, said)
        wanted = bool(kept) or self._is_wanted(pid, said)
        await link.answer(writer, engine=wanted, say=lines)
        if not wanted:
            self.hub.calls.forget(pid)
            return
        if said.get("is_back") and self.hub.root:
            text = f"pid {pid} has closed its descriptors, and so left the debugger until now"
            self.hub.root.say(text)
        command = [str(part) for part in said.get("command") or container.command_of(pid)]
        program = Debuggee(reader, writer, pid, container.started(pid) or 0, command, kept)
        await self.hub.add(program)

    def _kept(self, said):
        """Return what keeps a program until a client has attached (see Debuggee); "" if nothing."""
        if said.get("crashed") or said.get("recorded"):
            return "crash" if said.get("crashed") else "recorded"
        is_held = said.get("held") or (said.get("held_if") == self.mode and not setting("RANK"))
        return "wait" if is_held and not self.hub.was_attached else ""

    def _is_wanted(self, pid, said):
        """Tell whether a program that nothing keeps gets an engine."""
        is_asked, is_known = bool(said.get("asked")), pid in self.hub.programs
        if is_asked and (is_known or said.get("only_dumps") or not self.hub.calls.is_chosen(pid)):
            return False
        is_expected = bool(self.hub.root or (is_asked and self.port_server))
        return is_expected and not self.hub.leaves_out(pid)

    def _lines(self, kept, pid, said):
        """Return the lines that a program prints that is kept. kept: see _kept()."""
        lines = self.keeping.lines(pid) if kept == "crash" else []
        if self.hub.root is not None:
            return lines
        lines.append(f"Waiting for client to attach... {self.address()}")
        if kept == "wait":
            lines.append("To go on without a debugger, start it again with REMORA_MODE=off")
        if "rank" in said and not self.has_warned:
            self.has_warned = True
            lines.append(ranks.WARNING.format(said["rank"]))
        return lines

    # ---- The command ----

    async def _answer_command(self, writer, said):
        """Answer the command `remora`. said: the question, `ask`, and its arguments."""
        answer = {}
        if said["ask"] == "attach":
            answer = await self._prepare(said.get("pids") or None)
        elif said["ask"] == "let go":
            answer = {"let_go": self.keeping.let_go(said.get("pids"))}
        elif said["ask"] == "dump":
            answer = {"dumped": await self.moments.ask(said.get("pids"))}
        elif said["ask"] == "ready" and self.mode in ("wait", "listen"):
            answer = await self._open_port()
        answer.update(
            mode=self.mode,
            port=self.port if self.port_server else None,
            address=self.address(),
            problems=self.hub.calls.problems(),
            crashed=self.keeping.facts(),
            is_attached=bool(self.hub.root and self.hub.root.is_configured),
            programs={
                pid: {"kept": p.kept, "is_shown": p.session is not None, "command": p.command}
                for pid, p in self.hub.programs.items()
            },
        )
        await link.answer(writer, **answer)

    async def _prepare(self, chosen):
        """Make the running programs, or those with the pids in `chosen`, ready for a client."""
        answer = await self._open_port()
        if answer:
            return answer
        self.hub.calls.chosen = set(chosen) if chosen else None
        asked = self.hub.calls.ask(also=self.hub.calls.without_session)
        loop = asyncio.get_event_loop()
        deadline = loop.time() + ANSWER_TIMEOUT
        while self.hub.calls.missing(asked) and loop.time() < deadline:
            await self.hub.calls.wait_for_change()
        return {}

    async def run(self, is_ready):
        """Serve until the container ends. is_ready: a descriptor, closed when programs may come."""
        try:
            name = "\0" + link.name(link.HUB)
            # If this queue is full, a program does not wait: it runs on without a debugger.
            local = await asyncio.start_unix_server(
                self._take_local, name, limit=protocol.LIMIT, backlog=512
            )
        except OSError:
            return  # a hub runs already
        if self.mode in ("wait", "listen"):
            # Do not end without a port: programs would start a hub again and again.
            problem = (await self._open_port()).get("error")
            # In mode `wait`, each program that is held prints this.
            if self.mode == "listen" or setting("RANK"):
                listening = f"Listening, a client can attach at any time: {self.address()}"
                say(f"{problem}. Programs run without a debugger" if problem else listening)
        daemon.say_new_names()
        os.close(is_ready)
        daemon.leave_terminal()
        async with local:
            await asyncio.Event().wait()


def main(is_ready):
    """Be the hub of this container. is_ready: see Server.run()."""
    is_ready = daemon.begin(is_ready)
    asyncio.run(_run(is_ready))


async def _run(is_ready):
    await Server().run(is_ready)
