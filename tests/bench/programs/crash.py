"""Raises an exception while it holds what its argument names. Prints how long that takes to report,
in milliseconds.
"""

import sys
import time
from types import SimpleNamespace


def held(kind):
    if kind == "array":
        import numpy

        return numpy.ones(500_000_000)
    if kind == "table":
        from values import table

        return table(10_000_000)
    if kind == "dict":
        return dict.fromkeys(range(10_000_000))
    if kind == "list":
        return list(range(10_000_000))
    if kind == "objects":
        return [SimpleNamespace(number=n, inner=SimpleNamespace(text="x")) for n in range(500_000)]
    return None


def work(kind):
    value = held(kind)
    raise ValueError(type(value))


report = sys.excepthook


def timed(*error):
    start = time.perf_counter()
    report(*error)
    print((time.perf_counter() - start) * 1000)


sys.excepthook = timed
work(sys.argv[1])
