"""All clients and programs of the container: the hub decides which program a client is shown."""

import asyncio
import socket

from .. import container, link
from .calls import ANSWER_TIMEOUT, Calls
from .debuggee import Gone

# How long a client may take to open a session for a program, in seconds.
CHILD_TIMEOUT = 5


class Hub:
    """Gives each program a session, and what the client has asked for.

    port        the debug port, for clients that open another session
    programs    the programs with an engine, by pid: see debuggee.py
    root        the first session of the client: see session.py
    children    the sessions for programs that run beside the root's program, by pid
    """

    def __init__(self, port):
        self.port = port
        self.programs, self.root, self.children = {}, None, {}
        self.was_attached = False
        self.calls = Calls(self.programs)
        self._tasks = set()
        self._attached_name = self._looking = None

    def start(self, coroutine):
        """Run a coroutine in the background."""
        task = asyncio.get_event_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- Clients ----

    async def program_for(self, session):
        """Return the program that a session shows first; None if there is none yet.

        Raises Gone if there cannot be such a session.
        """
        if session.is_ended:
            raise Gone()
        if session.pid is not None:
            program = self.programs.get(session.pid)
            if program is None or program.session or self.root is None:
                raise Gone()
            self.children[session.pid], session.is_stranger = session, False
            return program
        if self.root is not None:
            if self.root.is_configured or not self.root.is_attached:
                raise Gone("the container is already being debugged by another client")
            self.root.close()
            self.left(self.root)
        self.root, session.is_stranger = session, False
        self._show_attached(True)
        return await self._first_program(session)

    async def _first_program(self, session):
        """Return the oldest program, after asking all running processes for their engines."""
        asked = [] if any(p.kept for p in self.programs.values()) else self.calls.ask()
        self.calls.running_at_attach = asked
        loop = asyncio.get_event_loop()
        deadline = loop.time() + ANSWER_TIMEOUT
        while True:
            if self.root is not session:
                raise Gone()  # the client has left
            found = min(self.programs.values(), key=lambda p: (not p.kept, p.started), default=None)
            missing = self.calls.missing(asked)
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
            await self.calls.wait_for_change()
            if asked:
                self.calls.ask()  # again, if one was still busy with the last client

    def configured(self, session):
        """Give all programs what the client has asked for, once it has sent everything."""
        if session is not self.root:
            return
        self.was_attached = True
        for program in list(self.programs.values()):
            if program.session is None:
                self._place(program)
        if session.program is None:
            session.say(
                "no Python program is here yet: the next one that starts is debugged."
                " `remora status` in the container says why another one is not debugged."
            )
        self._looking = self.start(self.calls.look(lambda: self.root.program is None))

    def left(self, session, terminate=False):
        """Note that a client has ended a session. terminate: whether to end its program, too."""
        if session.pid is not None and self.children.get(session.pid) is session:
            del self.children[session.pid]
        program, session.program = session.program, None
        if session is not self.root:
            if program:
                self.calls.without_session.add(program.pid)
                self._release(program, terminate)
            return
        self.root = None
        if self._looking:
            self._looking.cancel()
        self._show_attached(False)
        self.calls.without_session.clear()
        for child in list(self.children.values()):
            child.program = None
            child.terminate()
        self.children.clear()
        for program in list(self.programs.values()):
            self._release(program, terminate)

    def _release(self, program, terminate=False):
        """Let a program go on without its client."""
        if terminate:
            program.send("disconnect", {"terminateDebuggee": True})
        elif program.kept and not program.is_configured:
            program.reset()  # and goes on waiting
        else:
            program.session = None
            self._ended(program)  # the next client must not be shown this connection

    def _show_attached(self, is_attached):
        """Let new processes know whether a client is attached, by a name: see link.py."""
        if self._attached_name:
            self._attached_name.close()
            self._attached_name = None
        if is_attached:
            self._attached_name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._attached_name.bind("\0" + link.name(link.ATTACHED))
            except OSError:
                pass  # another process has the name: it exists all the same

    # ---- Programs ----

    async def add(self, program):
        """Take in a program until the program or its engine ends."""
        if program.pid in self.programs:
            self._ended(self.programs[program.pid])  # the process has replaced itself
        self.programs[program.pid] = program
        self.calls.forget(program.pid)
        try:
            self._place(program)
            await self.calls.note_change()
            await program.pump()
        finally:
            self._ended(program)

    def _place(self, program):
        """Give a program that has connected a session, and the client's breakpoints."""
        root = self.root
        if root is None or not root.is_configured:
            if root and not program.kept:
                asyncio.get_event_loop().call_later(CHILD_TIMEOUT, self._put_off, program)
            return
        expecting = self.children.get(program.pid)
        if root.program is None:
            root.take(program)
        elif expecting and expecting.program is None:
            expecting.take(program)
        else:
            if not program.is_crash:
                if self.leaves_out(program.pid):
                    program.close()
                    return
                program.configure(root.memory)
            self._offer(program)

    def leaves_out(self, pid):
        """Tell whether the client wants no session for a program, as it runs beside the root's."""
        root = self.root
        shown = root.program if root else None
        if not shown or shown.pid == pid or root.memory.attach.get("subProcess", True):
            return False
        self.calls.without_session.add(pid)
        return True

    def _offer(self, program):
        """Ask the client to open a session for a program that runs beside the root's program."""
        self.root.offer(program, self.port)
        asyncio.get_event_loop().call_later(CHILD_TIMEOUT, self._give_up, program)

    def _put_off(self, program):
        """Let a program run on until its client has sent everything. The hub then asks again."""
        if self._has_no_session(program) and not self.root.is_configured:
            program.close()

    def _give_up(self, program):
        """Let a program run on, because the client has opened no session for it."""
        if not self._has_no_session(program):
            return
        program.close()
        self.calls.without_session.add(program.pid)
        text = f"pid {program.pid} runs on without a debugger: the client opened no session for it"
        self.root.say(f"{text} ({' '.join(program.command)[:200]})")
        container.log(text)

    def _has_no_session(self, program):
        """Tell whether a client is there, and no session for the program, which need not wait."""
        is_there = self.programs.get(program.pid) is program
        return is_there and not program.session and self.root and not program.is_crash

    def _ended(self, program):
        """Note that a program or its engine has ended."""
        if self.programs.get(program.pid) is not program:
            return
        del self.programs[program.pid]
        session, program.session = program.session, None
        if session and not session.is_ended:
            session.lose(program)
            if session is self.root:
                self._fill_root(program)
            elif program.is_ending or container.started(program.pid) != program.started:
                session.terminate()
            else:
                # The process may be about to replace itself.
                asyncio.get_event_loop().call_later(ANSWER_TIMEOUT, session.expire)
        program.fail()
        program.close()

    def _fill_root(self, ended):
        """Show another program in the root session, if one waits for a session."""
        is_all = ended.kept == "recorded" or container.ends_with(ended.pid)
        if (ended.is_ending and is_all) or ended.is_interrupted:
            self.root.terminate()
            return
        waiting = [p for p in self.programs.values() if p.session is None]
        if waiting:
            self.root.take(min(waiting, key=lambda p: p.started))
        else:
            self.calls.without_session.discard(ended.pid)
            if ended.is_ending:
                self.calls.leave_alone(ended.pid, ended.started)
            self.calls.ask(also=self.calls.without_session)
