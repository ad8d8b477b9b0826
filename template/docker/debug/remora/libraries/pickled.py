"""Let functions that cloudpickle sends to another process keep the names of their files.

cloudpickle calls each file `<dynamic-code>`, and no breakpoint is set there. joblib, Dask, Ray and
Spark send functions by cloudpickle, some of them by a copy of their own.
"""

from types import CodeType

from .. import program
from . import imports

NAMELESS = "<dynamic-code>"

MODULES = [
    f"{package}cloudpickle.cloudpickle" for package in ("", "joblib.externals.", "pyspark.", "ray.")
]


def keep_names():
    """Keep the names in what this process sends, whenever it imports cloudpickle."""
    imports.change(dict.fromkeys(MODULES, change))


def change(module):
    """Keep the names while a client is attached. module: cloudpickle, or a copy."""
    reducers = getattr(getattr(module, "Pickler", None), "_dispatch_table", {})
    if CodeType not in reducers:
        return  # another version, or a module of the program with that name
    reduce = reducers[CodeType]

    def reduce_code(code):
        rebuild, arguments = reduce(code)
        if program.is_attached():
            arguments = tuple(
                code.co_filename if isinstance(one, str) and one == NAMELESS else one
                for one in arguments
            )
        return rebuild, arguments

    reducers[CodeType] = reduce_code
