"""Find secrets by their names and by their looks, and hide them in texts.

A text is searched before it is cut, because half of a secret does not look like one.
"""

import os
import re

from .. import container

# How long the text of a value may be
LENGTH = 2000

# How far behind the shown part of a text the end of a secret is looked for. A search of megabytes
# would hold up the program's end.
BEHIND = 2 * LENGTH

# How much of a text is searched. No variable of the environment is longer (execve(2)).
ENVIRONMENT = 2**17

# Stands for a value that is not written
HIDDEN = "(hidden)"

# Secrets that the environment has told: see learn()
known = set()

# Words in the name of a secret. `key` alone usually means the key of a dictionary.
SECRET = re.compile(
    r"(?i)(?<![a-z])(auth|authorization|bearer|cookie|credentials?|dsn|pass|passphrase|passwd"
    r"|password|private|pwd|secrets?)(?![a-z])|token(?![a-z])|[a-z0-9][-_]?key(?![a-z])"
    r"|passw(or)?d|secret|credential"
)
# A container with such a name is hidden as a whole. Here, tokens and keys are usually not secrets.
SECRETS = re.compile(
    r"(?i)(?<![a-z])(auth|authorization|cookies?|credentials?|passwords?|secrets?)(?![a-z])"
)
KEYS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(sk|pk|rk)[-_][A-Za-z0-9_-]{16,}|\b(AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\b(gh[pousr]|github_pat|glpat|hf|npm|xox[abprs])[-_][A-Za-z0-9_-]{16,}"
    r"|\b(AIza|pypi-Ag)[A-Za-z0-9_-]{16,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?"
    r"|(?i:\b(?<=bearer )|\b(?<=basic ))[A-Za-z0-9+/._~-]{16,}=*"
)
# Passwords in an address, after name=, in JSON, after an option, and in a line of headers
PASSWORDS = re.compile(
    r"""(://[^/\s:@]*:)[^/\s]+(?=@)"""
    r"""|((?i:\b(?:authorization|cookie|x-(?:\w{1,20}-){0,3}(?:key|token|secret)): ))[^\r\n'"]+"""
    r"""|((?i:passw(?:or)?d|pwd|secret|token|(?:account|api|access|private)[-_]?key)"""
    r"""(?:\w{0,20}=['"]?|['"]\s*:\s*['"]))[^\s'"&;,)]+"""
    r"""|((?i:--[\w-]{0,20}(?:passw(?:or)?d|secret|token|key) )|(?i:\bpassword: ))[^\s'"]+"""
)


def is_secret(name):
    """Tell whether a name says that its value is a secret."""
    return SECRET.search(name) is not None


def must_hide(name, value):
    """Tell whether a value must be hidden because of its name."""
    name = name.decode("latin-1") if type(name) is bytes else name
    if not issubclass(type(name), str):
        return False
    name = str.__str__(name)  # such as a member of an enum, as text
    if issubclass(type(value), (str, bytes, bytearray)):
        return is_secret(name)
    is_container = issubclass(type(value), (dict, list, tuple, set, frozenset))
    return is_container and SECRETS.search(name) is not None


def learn():
    """Take note of the values of environment variables whose names say that they are secrets."""
    global known
    # The program may have removed some since its start.
    there = [*container.environment_of("self").items(), *dict(os.environ).items()]
    found = {value for name, value in there if is_secret(name) and len(value) > 5}
    known = found | {repr(value)[1:-1] for value in found}  # as the text of an exception has it


def places_in(text, length):
    """Yield the places (start, end) of secrets that begin in the first characters of a text.

    length: how many characters. Secrets are what is known, and what looks like a key or a password.
    """
    for secret in known:
        start = text.find(secret, 0, length + len(secret))
        while start >= 0:
            yield start, start + len(secret)
            start = text.find(secret, start + 1, length + len(secret))
    if len(text) > 12:
        near = text[: length + BEHIND]
        yield from (found.span() for found in KEYS.finditer(near))
        yield from ((found.end(found.lastindex), found.end()) for found in PASSWORDS.finditer(near))


def beginning(text, length=LENGTH):
    """Return the first characters of a text, without the secrets that begin there."""
    parts, position = [], 0
    for start, end in sorted(places_in(text, length)):
        if position <= start < length:
            parts += [text[position:start], HIDDEN]
        position = max(position, end)
    return "".join([*parts, text[position:length]])


def excerpt(text, length=LENGTH):
    """Return a text without its secrets, cut to `length` characters, in which the secrets count."""
    return beginning(text, length) + ("…" if len(text) > length else "")
