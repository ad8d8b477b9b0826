"""Check the settings of single modes, and of ranks. A wrong setting ends a program at its start.

hook.py checks the settings that all programs have. This module is imported only if it is needed.
"""

from .hook import refuse, setting

# The settings that limit dumps, without DUMP_ in front
LIMITS = ("LIMIT", "KEEP", "TOTAL", "SECONDS")


def whole_number(text):
    """Return the whole number above 0 that a text stands for; None if it does not."""
    return int(text) or None if text.isascii() and text.isdecimal() and len(text) < 16 else None


def seconds(text):
    """Return the seconds of a time such as 90, 90s, 30m, 8h, 2d; None if the text is not a time."""
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:])
    number = whole_number(text[:-1] if unit else text)
    return number * (unit or 1) if number and number < 10**6 else None


def check_more(mode):
    """End this process if a setting of its mode, or REMORA_RANK, is wrong.

    mode: REMORA_MODE, or "" if the environment has none.
    """
    numbers = {"crash": ["KEEP"], "dump": ["DUMP_" + name for name in LIMITS]}
    for name in numbers.get(mode, ()):
        if not whole_number(setting(name, "1")):
            refuse(f"REMORA_{name} must be a whole number above 0, not {setting(name)!r}")
    if mode == "crash" and not seconds(setting("KEEP_FOR", "1")):
        refuse(f"REMORA_KEEP_FOR must be a time such as 90s, 30m, 8h, not {setting('KEEP_FOR')!r}")
    rank = setting("RANK", "*")
    if rank != "*" and not all(part.strip().isdecimal() for part in rank.split(",")):
        refuse(f"REMORA_RANK must be ranks such as 2 or 0,5, or * for all of them, not {rank!r}")
    if mode == "dump" and setting("DUMP_ON", "term") != "term":
        refuse(f"REMORA_DUMP_ON must be term or nothing, not {setting('DUMP_ON')!r}")
