"""The crashes that mode `crash` keeps: the hub decides how many at a time, and for how long."""

import asyncio
import time

from .. import container, link
from ..checks import seconds, whole_number
from ..hook import setting
from .calls import Change


class Keeping:
    """The processes that have crashed, and whether they are kept.

    programs    the programs with an engine, by pid: see Hub
    kept        by pid: (name of the exception, when the process is let go; None for never)
    held        by pid: names of exceptions of processes that are not kept, and end after the others
    """

    def __init__(self, programs):
        self.programs = programs
        self.most = whole_number(setting("KEEP", "1")) or 1
        self.limit = seconds(setting("KEEP_FOR"))
        self.kept, self.held = {}, {}
        self._change = Change()

    async def take(self, reader, writer, pid, said):
        """Tell a crashed process whether it is kept, and note that it is until it leaves.

        reader, writer: the connection to the process. said: {"crash": the name of the exception,
        "ends": whether the process will end}.
        """
        error = str(said["crash"])[:200]
        if pid not in self.kept and len(self.kept) >= self.most:
            return await self._refuse(reader, writer, pid, error, bool(said.get("ends")))
        kept = self._note(pid, error)
        try:
            program = self.programs.get(pid)
            if program and not program.is_configured:
                program.close()  # it was ready for a client, and now connects again
            await link.answer(writer, kept=True)
            await reader.read(1)
        finally:
            if self.kept.get(pid) is kept:  # or the process has replaced itself, and crashed again
                del self.kept[pid]
            await self._change.note()

    def lines(self, pid):
        """Return lines for the log about a kept process with an engine; [] if it is not kept."""
        return [f"{self.kept[pid][0]} in pid {pid}, kept as it is"] if pid in self.kept else []

    def _note(self, pid, error):
        """Note that a process is kept, and until when. Returns what is noted."""
        kept = self.kept[pid] = error, time.time() + self.limit if self.limit else None
        if self.limit:
            asyncio.get_event_loop().call_later(self.limit, self._expire, pid, kept)
        return kept

    async def _refuse(self, reader, writer, pid, error, ends):
        """Let a process that is not kept end, but not before its siblings that are kept.

        Its parent may end all other children when one ends, as torchrun does. So the process waits
        until no child of the same parent is kept.
        """
        why = f"REMORA_KEEP is {self.most}, and pid {', '.join(map(str, self.kept))} crashed first"
        line = f"{error} in pid {pid} is not kept: {why}"
        holds = ends and bool(self._siblings(pid))
        if holds:
            line += f". Pid {pid} ends afterwards, since the same program has started all of them"
        await link.answer(writer, kept=False, holds=holds, say=[line])
        if not holds:
            return
        self.held[pid] = error
        end = asyncio.ensure_future(reader.read(1))
        try:
            while self._siblings(pid) and not end.done():
                await self._change.wait(1)
        finally:
            end.cancel()
            self.held.pop(pid, None)

    def _siblings(self, pid):
        parent = container.parent_of(pid)
        if not container.is_interpreter(parent):
            return []
        return [one for one in self.kept if container.parent_of(one) == parent]

    def let_go(self, chosen):
        """End the kept processes, or those of them in `chosen` (pids). Returns their pids."""
        found = [pid for pid in self.kept if pid in self.programs and pid in (chosen or self.kept)]
        for pid in found:
            self.programs[pid].close()
        return found

    def _expire(self, pid, kept):
        if self.kept.get(pid) is not kept:
            return
        program = self.programs.get(pid)
        if program is None:  # it is still loading its engine
            asyncio.get_event_loop().call_later(1, self._expire, pid, kept)
        elif not program.is_configured:
            container.log(f"pid {pid} is let go: REMORA_KEEP_FOR is {setting('KEEP_FOR')}")
            program.close()

    def facts(self):
        """Return what `remora status` says about each process that has crashed: a text by pid."""
        found = {pid: f"{error}: it ends after the kept ones" for pid, error in self.held.items()}
        for pid, (error, until) in self.kept.items():
            program = self.programs.get(pid)
            when = "until an editor attaches, or `remora let-go`"
            if program and program.is_configured:
                when = "while an editor is shown it"
            elif until:
                when += f", or {time.strftime('%H:%M:%S', time.gmtime(until))} UTC"
            found[pid] = f"{error}, kept {when}"
        return found
