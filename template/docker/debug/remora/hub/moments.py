"""Dumps of running programs, which the hub requests for the command `remora dump`."""

import asyncio
import json
import os

from .. import container, link

# How long a program may take to write a dump, in seconds; the command waits a little longer.
TIMEOUT = 25


class Moments:
    """Asks programs for dumps, by the same signal as for a debugger.

    programs: the programs that have connected, by pid: see hub.py.
    """

    def __init__(self, programs):
        self.programs = programs
        # Futures of the paths of dumps that are being written, by pid
        self._wanted = {}

    async def ask(self, chosen):
        """Make running programs write dumps. chosen: their pids; None or an empty list means all.

        Returns the path by pid, for each program that was asked: "" if the program could not write
        a dump, None if it has not answered, or has not begun.
        """
        asked, held = {}, {}
        for pid in container.pids():
            if pid == os.getpid() or (chosen and pid not in chosen):
                continue
            program = self.programs.get(pid)
            if program and program.kept == "wait" and not program.is_configured:
                held[pid] = None
            elif container.can_be_asked(pid):
                future = asyncio.get_event_loop().create_future()
                asked[pid] = self._wanted.setdefault(pid, future)
                try:
                    os.kill(pid, container.SIGNAL)
                except OSError:
                    del asked[pid], self._wanted[pid]  # it belongs to another user, or has ended
        if asked:
            await asyncio.wait(set(asked.values()), timeout=TIMEOUT)
        for pid in asked:
            self._wanted.pop(pid, None)
        said = {pid: one.result() if one.done() else None for pid, one in asked.items()}
        return {**held, **said}

    def is_asked(self, pid):
        """Tell whether a program must write a dump, and has not begun to."""
        return pid in self._wanted and not self._wanted[pid].done()

    async def take(self, pid, reader, writer):
        """Let a program that has connected write its dump, and take in the path."""
        wanted = self._wanted[pid]
        path = ""
        try:
            await link.answer(writer, engine=False, say=[], dump=True)
            path = str(json.loads((await reader.readline()).decode()).get("dumped") or "")
        finally:
            if not wanted.done():
                wanted.set_result(path)
        await link.answer(writer)
