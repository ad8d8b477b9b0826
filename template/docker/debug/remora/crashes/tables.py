"""Sum up the tables of pandas and polars, and what is in them: see summaries.py."""

from ..engine.values import SHOWN
from . import hiding, texts

# How many columns of a table are shown.
COLUMNS = 50


def line_of_table(table):
    return f"{texts.type_name(table)} of {table.shape[0]} rows x {table.shape[1]} columns"


def line_of_column(column):
    return f"{texts.type_name(column)} {column.dtype}[{len(column)}] {texts.line(column.name)}"


def first_rows(table):
    """Return the first rows. In pandas, a slice without `iloc` may mean labels of the index."""
    return getattr(table, "iloc", table)[:SHOWN]


def inside_table(table):
    yield ".shape", table.shape
    head = first_rows(table)
    names = list(table.columns)
    for position, name in enumerate(names[:COLUMNS]):
        column = head.iloc[:, position] if hasattr(head, "iloc") else head[name]
        yield f"[{texts.line(name)}]", column
    if len(names) > COLUMNS:
        yield ".columns", names


def inside_column(column):
    yield ".dtype", str(column.dtype)
    if hiding.is_secret(texts.line(column.name)):
        return
    head = first_rows(column)
    values = head.to_list()
    # A row of a table has the names of the columns.
    labels = head.index.to_list() if hasattr(head, "index") else range(len(values))
    for label, value in zip(labels, values):  # noqa: B905 - Python 3.8
        yield f"[{texts.line(label)}]", value


def inside_index(index):
    yield ".dtype", str(index.dtype)
    yield from ((f"[{n}]", value) for n, value in enumerate(index[:SHOWN].to_list()))


def line_of_moment(moment):
    if getattr(moment, "tzinfo", None) is None:
        return str(moment)
    return f"{moment.asm8} UTC, with a {texts.type_name(moment.tzinfo)}"  # maybe of the program
