"""Makes pydevd wake the threads that a client resumes, in programs of several threads too.

_update_stepping_info() of pydevd uses its parameter's name in a loop, and so wakes the last thread
of that loop. The thread that should go on notices that after 0.2 s. Debugpy 1.8.20 to 1.8.22 do so.
"""


def apply(pydevd):
    """Make each wake-up reach all threads that are paused.

    A paused thread that is woken looks for itself whether it goes on, or what it has to do.
    Raises AttributeError if pydevd lacks what this replaces.
    """
    begin, ThreadingEvent = pydevd.PyDB.__init__, pydevd.ThreadingEvent

    def __init__(self, *arguments, **options):
        begin(self, *arguments, **options)
        events = getattr(self, "_thread_events", None)

        def set_all(_):
            for event in list(events.values()):
                ThreadingEvent.set(event)

        if events is not None:
            events.default_factory = type("Event", (ThreadingEvent,), {"set": set_all})

    pydevd.PyDB.__init__ = __init__
