"""The ids of breakpoints that a client knows, whichever program it is shown."""


class BreakpointIds:
    """Each engine numbers breakpoints anew; the client's numbers stay."""

    def __init__(self):
        # The client's ids by path and position, and by the id of the present engine
        self._by_path, self._by_engine, self._last = {}, {}, 0

    def give(self, path, count):
        """Return new ids for the breakpoints of a file, which replace those that it had."""
        self._by_path[path] = [self._last + n for n in range(1, count + 1)]
        self._last += count
        return self._by_path[path]

    def forget_engine(self):
        """Note that another engine comes."""
        self._by_engine.clear()

    def known(self, path, answer):
        """Return an engine's answer to setBreakpoints, with the ids that the client knows."""
        found = []
        for number, breakpoint in zip(  # noqa: B905 - Python 3.8
            self._by_path.get(path, []), answer.get("breakpoints", [])
        ):
            self._by_engine[breakpoint.get("id")] = number
            found.append({**breakpoint, "id": number})
        return {"breakpoints": found}

    def of_change(self, body):
        """Return the body of an event `breakpoint` for the client; None if it knows of none."""
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
