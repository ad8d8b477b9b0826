"""Calls of the hub: which processes it has asked for their engines, and which it has yet to ask.

The hub asks by the signal container.SIGNAL. A process then connects to the hub.
"""

import asyncio
import os

from .. import container

# How long a process may take to connect after it was asked, in seconds.
ANSWER_TIMEOUT = 10

# How long a client may have to wait until all programs stop at its breakpoints, in seconds.
RUN_TIMEOUT = 5

# How often look() searches for processes that have not been asked, in seconds.
LOOK_INTERVAL = 1


class Change:
    """A condition that waiting coroutines check again whenever something has changed."""

    def __init__(self):
        self._condition = asyncio.Condition()

    async def wait(self, seconds):
        """Wait until something has changed, at most `seconds`."""
        async with self._condition:
            try:
                await asyncio.wait_for(self._condition.wait(), seconds)
            except asyncio.TimeoutError:
                pass

    async def note(self):
        """Wake all coroutines that wait."""
        async with self._condition:
            self._condition.notify_all()


class Calls:
    """Asks processes to connect to the hub.

    programs            the programs that have connected, by pid: see Hub
    without_session     pids of programs that the client has not opened a session for
    running_at_attach   the processes that ran when the client attached, as ask() returns them
    chosen              pids that `remora attach` has named; None to choose all processes
    """

    def __init__(self, programs):
        self.programs = programs
        self.without_session, self.running_at_attach, self.chosen = set(), [], None
        # Why a process has said that it cannot be debugged, by pid: (when it was started, the
        # reason)
        self._problems = {}
        # When a process was asked, by pid: (when it was started, the loop's time)
        self._asked = {}
        self._change = Change()

    def is_chosen(self, pid):
        return self.chosen is None or pid in self.chosen

    def forget(self, pid):
        """Forget when a process was asked, so that it can be asked again at once."""
        self._asked.pop(pid, None)

    def note_problem(self, pid, problem):
        """Note why a process cannot be debugged (a text), so that it is not asked again."""
        self._problems[pid] = (container.started(pid), problem)

    def problems(self):
        """Return why processes that still run cannot be debugged: texts by pid."""
        there = self._problems.items()
        return {pid: why for pid, (start, why) in there if start == container.started(pid)}

    def leave_alone(self, pid, started):
        """Note that a process is about to end, so that it is not asked.

        started: see container.py.
        """
        self._asked[pid] = (started, asyncio.get_event_loop().time())

    def ask(self, also=()):
        """Ask each process for its engine, if it can be asked and has not connected by itself.

        also: pids of `without_session` that are asked nevertheless. Returns the processes that are
        asked now or were asked before, as (pid, when it was started).
        """
        now = asyncio.get_event_loop().time()
        found = []
        for pid in container.pids():
            skip = pid in self.without_session and pid not in also
            if pid in self.programs or skip or not self.is_chosen(pid) or pid == os.getpid():
                continue
            started = container.started(pid)
            if self._problems.get(pid, (None,))[0] == started:
                continue
            since = self._asked.get(pid, (None, 0))
            if started is None or not container.can_be_asked(pid):
                continue
            found.append((pid, started))
            if since[0] == started and now - since[1] < ANSWER_TIMEOUT:
                continue
            try:
                os.kill(pid, container.SIGNAL)
                self._asked[pid] = (started, now)
            except OSError:
                found.pop()  # it belongs to another user, or has ended
        return found

    def missing(self, asked):
        """Return the pids of processes that still run and have said nothing. asked: see ask()."""
        there = [pid for pid, started in asked if container.started(pid) == started]
        said = self.programs.keys() | self.problems().keys()
        return [pid for pid in there if pid not in said]

    async def wait_for_change(self):
        """Wait until a process has connected, but at most 0.2 s: a process may end unnoticed."""
        await self._change.wait(0.2)

    async def all_run(self):
        """Wait until all programs that ran when the client attached stop at its breakpoints.

        Wait RUN_TIMEOUT at most: a program may be inside a library that is not Python.
        """
        loop = asyncio.get_event_loop()
        deadline = loop.time() + RUN_TIMEOUT
        while self.missing(self.running_at_attach) and loop.time() < deadline:
            await self.wait_for_change()
        running = [program.running for program in self.programs.values() if program.running]
        if running:
            await asyncio.wait(running, timeout=max(0, deadline - loop.time()))

    async def note_change(self):
        """Wake those that wait for a process to connect."""
        await self._change.note()

    async def look(self, is_root_free):
        """Keep asking processes that could not be asked when the client attached, until cancelled.

        is_root_free: a function that tells whether the root session shows no program.
        """
        while True:
            for pid in [pid for pid in self._asked if container.started(pid) is None]:
                del self._asked[pid]
            self.ask(also=self.without_session if is_root_free() else ())
            await asyncio.sleep(LOOK_INTERVAL)
