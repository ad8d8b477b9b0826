"""Dumps that the command `remora dump` asks running programs for, in the hub."""

import asyncio
import json
import os

from remora import container, link

# How long a program may take to write one, in seconds; the command waits a little longer.
TIMEOUT = 25


class Moments:
    """Asks programs for dumps, by the signal that they are asked for a debugger with."""

    def __init__(self):
        # What those have written that are asked, by pid
        self._wanted = {}

    async def ask(self, chosen):
        """Have running programs write dumps. chosen: their pids, or none to mean all.

        Returns the path of each that was asked, by pid: "" if it could not write one, None if it
        has not answered.
        """
        asked = {}
        for pid in container.pids():
            if pid == os.getpid() or (chosen and pid not in chosen):
                continue
            if container.can_be_asked(pid):
                future = asyncio.get_event_loop().create_future()
                asked[pid] = self._wanted.setdefault(pid, future)
                try:
                    os.kill(pid, container.SIGNAL)
                except OSError:
                    del asked[pid], self._wanted[pid]  # another user's, or it has ended
        if asked:
            await asyncio.wait(set(asked.values()), timeout=TIMEOUT)
        for pid in asked:
            self._wanted.pop(pid, None)
        return {pid: one.result() if one.done() else None for pid, one in asked.items()}

    def is_asked(self, pid):
        """Tell whether a program is to write a dump, and does not do so yet."""
        return pid in self._wanted and not self._wanted[pid].done()

    async def take(self, pid, reader, writer):
        """Have a program that has come write its dump, and take in the path of that."""
        wanted = self._wanted[pid]
        path = ""
        try:
            await link.answer(writer, engine=False, say=[], dump=True)
            path = str(json.loads((await reader.readline()).decode()).get("dumped") or "")
        finally:
            if not wanted.done():
                wanted.set_result(path)
        await link.answer(writer)
