"""Sum up values of NumPy, torch, pandas, polars and PIL, without a copy of a whole value.

This module uses these libraries only if the program has loaded them, and calls only methods of
their own classes.
"""

import sys
import warnings

from ..engine.values import SHOWN
from . import tables, texts

# How many elements are read for statistics. For more, torch would start threads, which hang in a
# forked process.
MOST = {"numpy": 1_000_000, "torch": 30_000}

# How many rows are shown of a value with several dimensions.
ROWS = 10

# The classes that are summed up, by the modules that have them
CLASSES = {
    "numpy": ("ndarray", "void", "generic"),
    "torch": ("Tensor",),
    "torch.nn": ("Parameter",),
    "pandas": ("DataFrame", "Series", "Index", "Timestamp", "Timedelta", "Period"),
    "polars": ("DataFrame", "Series"),
    "PIL.Image": ("Image",),
}


def kind_of(value):
    """Return the library and the class of a value that is summed up; None for another value."""
    kind = type(value)
    top = texts.name_of(kind, "__module__").partition(".")[0]
    is_text = issubclass(kind, (str, bytes))  # as texts of NumPy, which texts.py makes
    if is_text or top not in ("numpy", "torch", "pandas", "polars", "PIL"):
        return None
    for place, names in CLASSES.items():
        module = sys.modules.get(place)
        if module is None or not place.startswith(top):
            continue
        for name in names:
            known = vars(module).get(name)
            # A subclass of the program may replace methods: accept only subclasses of these.
            is_family = name in ("void", "generic", "Image", "ndarray", "Index")
            if known is kind or (is_family and known and issubclass(kind, known)):
                return top, name
    return None


def line(value):
    """Return the text of a value that is summed up; None for another value."""
    kind = kind_of(value)
    if kind is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return texts.cut(SUMMARIES[kind][0](value))
    except Exception as error:
        return f"<{texts.type_name(value)}: {type(error).__name__}>"


def inside(value):
    """Return what is inside a value that is summed up, as (name, value); None for another value."""
    kind = kind_of(value)
    look = SUMMARIES[kind][1] if kind else None
    if look is None:
        return None
    try:
        return list(look(value))
    except Exception as error:
        return [("(more)", f"cannot be read: {type(error).__name__}")]


# ---- NumPy ----


def line_of_array(array):
    numpy = sys.modules["numpy"]
    array = numpy.ndarray.view(array, numpy.ndarray)
    text = f"ndarray {array.dtype}{list(array.shape)}"
    if array.dtype.kind not in "fiubc" or not array.size:
        return text
    part = array if array.size <= MOST["numpy"] else first_part(array)
    with numpy.errstate(all="ignore"):
        if array.dtype.kind in "fc":
            finite = numpy.isfinite(part)
            strange = part.size - int(finite.sum())
            if strange:
                nans = int(numpy.isnan(part).sum())
                text += f" NaN {nans}, Inf {strange - nans}"
                part = part[finite]
        if part.size and array.dtype.kind != "c":
            text += f" min {part.min()}, max {part.max()}, mean {part.mean():.6g}"
    return text + (f" (of the first {MOST['numpy']:,})" if array.size > MOST["numpy"] else "")


def first_part(array):
    """Return a part of a big array, without a copy of it."""
    while array.ndim > 1 and array[0].size > MOST["numpy"]:
        array = array[0]
    return array[: max(1, MOST["numpy"] // max(1, array[:1].size))]


def inside_array(array):
    numpy = sys.modules["numpy"]
    array = numpy.ndarray.view(array, numpy.ndarray)
    yield ".shape", array.shape
    yield ".dtype", str(array.dtype)
    if array.ndim == 0:
        yield ".item()", array.item()
    elif array.ndim == 1 and array.dtype.names is None:
        yield from indexed(array[:SHOWN].tolist())
    else:
        yield from indexed([array[n] for n in range(min(ROWS, len(array)))])


def indexed(found):
    return ((f"[{n}]", element) for n, element in enumerate(found))


# ---- torch ----


def line_of_tensor(tensor):
    torch = sys.modules["torch"]
    text = f"{texts.type_name(tensor)} {str(tensor.dtype).rpartition('.')[2]}{list(tensor.shape)}"
    text += f" on {tensor.device}" + (" requires_grad" if tensor.requires_grad else "")
    if not is_readable(tensor) or not tensor.numel() or not tensor.is_contiguous():
        return text
    try:
        text += numbers_of(torch, tensor)
    except (RuntimeError, TypeError):
        return text  # torch cannot compute with this type, such as the smallest floats
    return text + (f" (of the first {MOST['torch']:,})" if tensor.numel() > MOST["torch"] else "")


def numbers_of(torch, tensor):
    text = ""
    with torch.no_grad():
        part = tensor.detach().view(-1)[: MOST["torch"]]
        if part.dtype.is_floating_point:
            finite = torch.isfinite(part)
            nans, strange = int(torch.isnan(part).sum()), int((~finite).sum())
            if strange:
                text += f" NaN {nans}, Inf {strange - nans}"
                part = part[finite]
        if part.numel() and not part.dtype.is_complex and part.dtype != torch.bool:
            least, most = part.min().item(), part.max().item()
            text += f" min {least:.6g}, max {most:.6g}, mean {part.double().mean().item():.6g}"
    return text


def is_readable(tensor):
    """Tell whether the values of a tensor are in memory.

    Another device may be the one that has crashed.
    """
    strided = sys.modules["torch"].strided
    return tensor.device.type == "cpu" and tensor.layout == strided and not tensor.is_quantized


def inside_tensor(tensor):
    yield ".shape", tuple(tensor.shape)
    yield ".dtype", str(tensor.dtype)
    yield ".device", str(tensor.device)
    yield ".requires_grad", tensor.requires_grad
    if tensor.grad is not None and tensor.is_leaf:
        yield ".grad", tensor.grad
    if is_readable(tensor):
        values = tensor.detach()
        if values.dim() == 0:
            yield ".item()", values.item()
        elif values.dim() == 1:
            yield from indexed(values[:SHOWN].tolist())
        else:
            yield from indexed([values[n] for n in range(min(ROWS, len(values)))])


# ---- Pictures, and parts of arrays ----


def line_of_picture(picture):
    names = dict.get
    facts = vars(picture)
    size, mode = names(facts, "_size"), names(facts, "_mode", names(facts, "mode"))
    return f"{texts.type_name(picture)} {texts.line(mode)} {texts.line(size)}"


def line_of_record(record):
    """Return the text of a row of a structured array. Its fields may be secrets."""
    return f"{texts.type_name(record)} {record.dtype.names}"


def inside_record(record):
    if record.dtype.names is not None:
        yield from ((f"['{name}']", record[name]) for name in record.dtype.names)


def line_of_scalar(value):
    return f"{texts.type_name(value)}({texts.line(value.item())})"


# The functions for the text and the inside of a value, by what kind_of() returns
SUMMARIES = {
    ("numpy", "ndarray"): (line_of_array, inside_array),
    ("numpy", "void"): (line_of_record, inside_record),
    ("numpy", "generic"): (line_of_scalar, None),
    ("torch", "Tensor"): (line_of_tensor, inside_tensor),
    ("torch", "Parameter"): (line_of_tensor, inside_tensor),
    ("pandas", "DataFrame"): (tables.line_of_table, tables.inside_table),
    ("pandas", "Series"): (tables.line_of_column, tables.inside_column),
    ("pandas", "Index"): (tables.line_of_column, tables.inside_index),
    ("pandas", "Timestamp"): (tables.line_of_moment, None),
    ("pandas", "Timedelta"): (tables.line_of_moment, None),
    ("pandas", "Period"): (tables.line_of_moment, None),
    ("polars", "DataFrame"): (tables.line_of_table, tables.inside_table),
    ("polars", "Series"): (tables.line_of_column, tables.inside_column),
    ("PIL", "Image"): (line_of_picture, None),
}
