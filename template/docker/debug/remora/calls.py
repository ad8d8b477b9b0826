"""Which processes have been asked for their engines, and which are to be."""

import asyncio
import os

from remora import container

# How long a process may take until it has come, in seconds.
ANSWER_TIMEOUT = 10

# How long a client may have to wait until all programs stop at its breakpoints, in seconds.
RUN_TIMEOUT = 5

# How often is looked for processes that nobody has asked for, in seconds.
LOOK_INTERVAL = 1


class Change:
    """What those wait for that look again when anything has changed, or after some time."""

    def __init__(self):
        self._condition = asyncio.Condition()

    async def wait(self, seconds):
        """Wait until something has changed, at most for some seconds."""
        async with self._condition:
            try:
                await asyncio.wait_for(self._condition.wait(), seconds)
            except asyncio.TimeoutError:
                pass

    async def note(self):
        """Have those look again that wait."""
        async with self._condition:
            self._condition.notify_all()


class Calls:
    """Asks processes, by a signal, to come to the hub.

    programs    those that have come, by pid: see Hub
    untaken     pids of those that came, and that no session of the client has shown
    first       the processes that the client has found: what ask() has returned
    chosen      pids that `remora attach` has named; None if it has not: then all
    """

    def __init__(self, programs):
        self.programs = programs
        self.untaken, self.first, self.chosen = set(), [], None
        # Why those cannot be debugged that have said so, by pid: (its start, the reason)
        self._problems = {}
        # When each was asked, by its pid: (its start, the time)
        self._asked = {}
        self._change = Change()

    def is_chosen(self, pid):
        return self.chosen is None or pid in self.chosen

    def forget(self, pid):
        """Note that a process need not be waited for before it is asked again."""
        self._asked.pop(pid, None)

    def note_problem(self, pid, problem):
        """Note why a process cannot be debugged, so that it is not asked again."""
        self._problems[pid] = (container.started(pid), problem)

    def problems(self):
        """Return why those cannot be debugged that have said so, by pid."""
        there = self._problems.items()
        return {pid: why for pid, (start, why) in there if start == container.started(pid)}

    def leave_alone(self, pid, started):
        """Note that a process is about to end, so that it is not asked."""
        self._asked[pid] = (started, asyncio.get_event_loop().time())

    def ask(self, also=()):
        """Ask processes for their engines that can be asked and have not come by themselves.

        also: pids of those that no session has shown. Returns the pids asked, with their starts.
        """
        now = asyncio.get_event_loop().time()
        found = []
        for pid in container.pids():
            skip = pid in self.untaken and pid not in also
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
                found.pop()  # another user's, or it has ended
        return found

    def missing(self, asked):
        """Return the pids of those that have been asked, are there, and have not come."""
        there = [pid for pid, started in asked if container.started(pid) == started]
        return [pid for pid in there if pid not in self.programs]

    async def change(self):
        """Wait until a process has come, or for as long as one may take to end unseen."""
        await self._change.wait(0.2)

    async def all_run(self):
        """Wait until all programs that the client has found stop at its breakpoints.

        But not for long: one may be inside a library that is not Python.
        """
        loop = asyncio.get_event_loop()
        deadline = loop.time() + RUN_TIMEOUT
        while self.missing(self.first) and loop.time() < deadline:
            await self.change()
        running = [program.running for program in self.programs.values() if program.running]
        if running:
            await asyncio.wait(running, timeout=max(0, deadline - loop.time()))

    async def note_change(self):
        """Have those go on that wait for a process to come."""
        await self._change.note()

    async def look(self, is_root_free):
        """Ask those that came too late to be asked, for as long as the client is there.

        is_root_free: a function that tells whether the root session shows no program.
        """
        while True:
            for pid in [pid for pid in self._asked if container.started(pid) is None]:
                del self._asked[pid]
            self.ask(also=self.untaken if is_root_free() else ())
            await asyncio.sleep(LOOK_INTERVAL)
