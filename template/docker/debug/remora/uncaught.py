"""Exceptions that nothing catches, in any thread or child process, and what is done with them.

Every hook that was there before reports the exception first, as it would without a debugger.
"""

import builtins
import os
import sys
import threading
import traceback

# Classes that a worker makes to hand an exception on to its parent, by their modules. There it is
# raised again, without the variables of the worker.
HANDED_ON = {
    "concurrent.futures.process": "_ExceptionWithTraceback",
    "joblib.externals.loky.process_executor": "_ExceptionWithTraceback",
    "loky.process_executor": "_ExceptionWithTraceback",
    "multiprocessing.pool": "ExceptionWithTraceback",
    "torch._utils": "ExceptionWrapper",
}

# What to do with an exception, and with one that is found only when Python ends.
act = act_at_end = None

# The last exception of the main thread that was acted on.
seen = None

# Of a sys.exit() of the main thread while an exception was handled: that exception, the outermost
# frame, and where that was.
left = None


def catch(action, at_end, widely=False):
    """Have something done with every exception that nothing else has caught.

    action, at_end: functions that take the exception; the latter when Python ends
    widely: also with those that a library reports, or hands on to another process
    """
    global act, act_at_end
    import atexit

    act, act_at_end = action, at_end
    report, report_of_thread = sys.excepthook, threading.excepthook

    def excepthook(kind, error, trace):
        global seen
        report(kind, error, trace)
        seen = error
        tell(error)

    def excepthook_of_thread(arguments):
        report_of_thread(arguments)
        tell(arguments.exc_value)

    sys.excepthook, threading.excepthook = excepthook, excepthook_of_thread
    atexit.register(at_exit)
    os.register_at_fork(after_in_child=catch_in_child)
    catch_in_child()
    if widely:
        catch_widely()


def tell(error, action=None):
    """Act on an exception, unless it is an end that was asked for, or was raised nowhere."""
    if error is None or issubclass(type(error), (SystemExit, KeyboardInterrupt)):
        return
    if trace_of(innermost(error)) is not None:  # as a main script has none that cannot be parsed
        (action or act)(error)


def trace_of(error):
    """Return the traceback of an exception, whatever its class makes of that name."""
    return BaseException.__traceback__.__get__(error)


def innermost(error):
    """Return the exception to look at: of a group (Python 3.11), the first that was raised."""
    while issubclass(type(error), getattr(builtins, "BaseExceptionGroup", ())):
        first = BaseExceptionGroup.exceptions.__get__(error)[0]  # noqa: F821 - Python 3.11
        if trace_of(first) is None:
            break
        error = first
    return error


def at_exit():
    """Act on what libraries have caught in a sys.excepthook of their own, as pretty ones do."""
    global left
    error, ending, left = getattr(sys, "last_value", None), left, None
    if isinstance(error, BaseException) and error is not seen:
        tell(error, act_at_end)
    elif error is None and ending is not None:
        error, outermost, place = ending
        if outermost.f_lasti == place:  # or the end was caught, and the program has gone on
            tell(error, act_at_end)


def catch_in_child():
    """Do so in a child of multiprocessing, which reports its exception with traceback.print_exc."""
    report = traceback.print_exc
    if getattr(report, "is_of_remora", False):
        return

    def print_exc(*arguments, **options):
        report(*arguments, **options)
        caller = sys._getframe(1).f_code
        if caller.co_name == "_bootstrap" and "multiprocessing" in caller.co_filename:
            tell(sys.exc_info()[1])

    print_exc.is_of_remora = True
    traceback.print_exc = print_exc


# ---- What a library reports, or hands on ----


def catch_widely():
    """Have more found than what Python itself reports as the end of a thread."""
    from remora import imports

    leave, report = sys.exit, sys.unraisablehook
    main = threading.main_thread().ident

    def exit(*status):
        global left
        try:
            leave(*status)
        except SystemExit as ending:
            # A command line that is wrong ends a program with 2.
            code = ending.code
            is_failure = code is not None and not (type(code) is int and code in (0, 2))
            if is_failure and ending.__context__ is not None and threading.get_ident() == main:
                frame = sys._getframe(1)
                while frame.f_back is not None:
                    frame = frame.f_back
                left = ending.__context__, frame, frame.f_lasti
            raise

    def unraisablehook(arguments):
        report(arguments)
        if "thread started by" in (arguments.err_msg or ""):
            tell(arguments.exc_value)

    exit.__doc__, sys.exit, sys.unraisablehook = leave.__doc__, exit, unraisablehook
    actions = dict.fromkeys(HANDED_ON, catch_handed_on)
    imports.change({**actions, "asyncio.base_events": catch_in_loop})


def catch_handed_on(module):
    """Have exceptions found where a worker hands them on. module: one of HANDED_ON."""
    kind = getattr(module, HANDED_ON[module.__name__], None)
    if kind is None:
        return
    make = kind.__init__

    def init(self, *arguments, **options):
        tell(sys.exc_info()[1])
        make(self, *arguments, **options)

    kind.__init__ = init


def catch_in_loop(module):
    """Have exceptions found that asyncio reports: of tasks nobody awaits, and of callbacks."""
    report = module.BaseEventLoop.call_exception_handler

    def call_exception_handler(self, context):
        report(self, context)
        error = context.get("exception")
        if isinstance(error, BaseException):
            tell(error)

    module.BaseEventLoop.call_exception_handler = call_exception_handler
