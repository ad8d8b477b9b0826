"""The ids of breakpoints that a client knows, while the programs behind its session change."""


class BreakpointIds:
    """Translates between an engine's ids and the client's.

    Each engine numbers breakpoints from the start, while the client's numbers must stay the same.
    """

    def __init__(self):
        # The client's ids: by path, in the order of the breakpoints; and by the id of the present
        # engine
        self._by_path, self._by_engine, self._last = {}, {}, 0

    def give(self, path, wanted):
        """Give the breakpoints of a file new ids, instead of its former ones.

        path: the file, or FUNCTIONS: see debuggee.py. wanted: the breakpoints, as the client has
        sent them. Returns the body of the answer to the client if no program runs.
        """
        self._by_path[path] = [self._last + n for n in range(1, len(wanted) + 1)]
        self._last += len(wanted)
        message = f"Waiting for a program that has this {'file' if path else 'function'}."
        pending = {"verified": False, "message": message}
        found = [
            dict(pending, id=number, **({"line": breakpoint["line"]} if path else {}))
            for number, breakpoint in zip(self._by_path[path], wanted)  # noqa: B905 - Python 3.8
        ]
        return {"breakpoints": found}

    def forget_engine(self):
        """Forget the ids of the present engine, because another engine takes its place."""
        self._by_engine.clear()

    def known(self, path, answer):
        """Return the body of an engine's answer to setBreakpoints, with the client's ids.

        path: the file that the client has named. answer: the body from the engine.
        """
        found = []
        for number, breakpoint in zip(  # noqa: B905 - Python 3.8
            self._by_path.get(path, []), answer.get("breakpoints", [])
        ):
            self._by_engine[breakpoint.get("id")] = number
            found.append({**breakpoint, "id": number})
        return {"breakpoints": found}

    def of_change(self, body):
        """Return the body of the event `breakpoint` for the client; None if it has no such id."""
        breakpoint = dict(body.get("breakpoint") or {})
        number = self._by_engine.get(breakpoint.get("id"))
        if number is None:
            return None
        return {**body, "breakpoint": {**breakpoint, "id": number}}

    def of_stop(self, body):
        """Return the body of an event `stopped` for the client."""
        if "hitBreakpointIds" not in body:
            return body
        hit = [self._by_engine[n] for n in body["hitBreakpointIds"] if n in self._by_engine]
        return {**body, "hitBreakpointIds": hit}
