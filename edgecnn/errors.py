"""Every exception edgecnn raises on purpose, and the exit code each one ends a command with.

::

    EdgecnnError                     70  (never raised itself)
    ├── UsageError        ValueError   2  a wrong option, name or combination
    │   └── MissingExtraError ImportError 2  a package of an extra is not installed
    ├── SourceError       OSError      3  what was named to read from is missing or unusable
    │   └── MissingProgramError        3  a program that a source needs is not installed
    ├── DataError         ValueError   3  a data set or a run that cannot be used
    ├── ImageError        ValueError   1  one picture that cannot be read; the others go on
    ├── ModelError        ValueError   4  a model that is refused
    ├── DeviceError       RuntimeError 5  a device that was asked for and did not start
    ├── SinkError         OSError      6  results that cannot be written
    └── AccuracyError     ValueError   7  an export that lost more accuracy than allowed

Each also inherits the built-in exception that a caller would expect. A message is the rule, the value received and the
remedy, in this order.
"""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

_ONLY_64_BIT = frozenset({"onnxruntime", "tensorflow"})
"""Packages without wheels for 32-bit systems: to name the extra there would send the user in a circle."""


_WORDS = "pas|pwd|psw|pw|token|secret|api[_-]?key|auth|credential"
_SECRETS = (
    # user and password, also where the password has an @ or / that should have been written %40 or %2F
    (re.compile(r"(:/)(/?)[^/?#\s@:]+:(?!\d+(?:[/?#]|$))[^\s]*@"), r"\1\2***@"),
    (re.compile(r"(://)(?:[^/?#\s@]*@)+"), r"\1***@"),
    (re.compile(rf"(?i)([\w-]*(?:{_WORDS})[\w-]*=)(?:'[^']*'|\"[^\"]*\"|[^&#\s]+)"), r"\1***"),
    (re.compile(r"(?i)(--?(?:[\w-]*(?:password|passwd|token|secret)|u|user)\s+)\S+"), r"\1***"),
    (re.compile(r"(?i)(authorization:\s*\w+\s+)[^\s'\"]+"), r"\1***"),
)


class EdgecnnError(Exception):
    """Base of all errors of edgecnn; catch it to catch them all."""

    exit_code = 70


class UsageError(EdgecnnError, ValueError):
    """An option, a name or a combination of them that has no meaning."""

    exit_code = 2


class MissingExtraError(UsageError, ImportError):
    """A package that belongs to an optional extra is not installed."""


class SourceError(EdgecnnError, OSError):
    """What was named to read from does not exist or cannot be read."""

    exit_code = 3


class MissingProgramError(SourceError):
    """A program that a source needs is not installed; to wait for it is in vain."""


class DataError(EdgecnnError, ValueError):
    """A data set or a run directory from which the asked-for work cannot be done."""

    exit_code = 3


class ImageError(EdgecnnError, ValueError):
    """One picture that cannot be decoded; work on the other pictures goes on."""

    exit_code = 1


class ModelError(EdgecnnError, ValueError):
    """A model file that is refused: foreign, damaged, too new, or computing something else than it should."""

    exit_code = 4


class DeviceError(EdgecnnError, RuntimeError):
    """A device that was asked for by name and did not start."""

    exit_code = 5


class SinkError(EdgecnnError, OSError):
    """Results cannot be written where they were asked for."""

    exit_code = 6


class AccuracyError(EdgecnnError, ValueError):
    """An exported model loses more accuracy than allowed."""

    exit_code = 7


def needs(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Args:
        module: Name of the module, ``"keras"``.
        extra: The extra of edgecnn that installs it, ``"train"``.
        purpose: What it is needed for, in words that complete "is needed …": ``"to train"``.

    Raises:
        MissingExtraError: The module is not installed. A module that is there but fails to import raises its own error.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingExtraError(missing(module, extra, purpose, sys.maxsize)) from error


def missing(module: str, extra: str, purpose: str, max_size: int) -> str:
    """The message of `needs`.

    Args:
        module: Name of the module.
        extra: The extra that installs it.
        purpose: What it is needed for.
        max_size: ``sys.maxsize``, which tells a 32-bit Python also where the kernel is a 64-bit one.
    """
    if module.partition(".")[0] in _ONLY_64_BIT and max_size < 2**32:
        return (
            f"the package {module!r} is needed {purpose} and does not exist for 32-bit systems such as this one: "
            "install a 64-bit system, on a Raspberry Pi the 64-bit Raspberry Pi OS"
        )
    return f"the package {module!r} is needed {purpose} and is not installed; {how_to_install(extra)}"


def how_to_install(extra: str, *, remove: str = "") -> str:
    """What to do to have an extra, from how this edgecnn itself was installed.

    Args:
        extra: Its name.
        remove: Packages that have to go first.
    """
    noted = Path(sys.prefix, ".extras")  # install.sh writes it into the environment that it makes
    if noted.is_file():
        other = {"cpu": "gpu", "gpu": "cpu"}.get(extra)  # their wheels overwrite each other's files
        extras = sorted({*noted.read_text(encoding="utf-8").strip().split(","), extra} - {other})
        return f"run install.sh or `edgecnn deploy` again, with: --extras {','.join(extras)}"
    first = f"pip uninstall -y {remove} && " if remove else ""
    if Path(__file__).resolve().parents[1].joinpath("pyproject.toml").is_file():
        return f"in the checkout of edgecnn type: {first}pip install -e '.[{extra}]'"
    return f"type: {first}pip install {shlex.quote(f'{_installed_from()}[{extra}]')}"


def _installed_from() -> str:
    """The wheel or checkout that pip took edgecnn from, as pip has noted it; the name where an index had it."""
    import importlib.metadata  # here: it costs a prediction's start 10 ms
    import json
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        noted = importlib.metadata.distribution("edgecnn").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:  # run out of an archive
        noted = None
    url = urlsplit(str(json.loads(noted or "{}").get("url", "")))
    return url2pathname(url.path) if url.scheme == "file" else "edgecnn"


def refuse_unknown_options(kind: str, received: Iterable[str], known: Sequence[str]) -> None:
    """Check the names of options that a source or a sink was given in the query of its URI.

    Raises:
        UsageError: One of them is not known; the message lists those that are.
    """
    for name in received:
        if name not in known:
            rule = f"must be one of {', '.join(known)}" if known else "do not exist"
            raise UsageError(f"options of {kind} {rule}; received {name!r}{did_you_mean(name, known)}")


def did_you_mean(received: str, known: Iterable[str]) -> str:
    """The end of a message, ``; did you mean 'test'?``; empty where nothing known is near."""
    near = close(received, known)
    return f"; did you mean {near[0]!r}?" if near else ""


def close(received: str, known: Iterable[str]) -> list[str]:
    """The one of `known` that is nearest to what was typed; none where nothing is near."""
    import difflib  # here: it costs a prediction's start 2 ms

    return difflib.get_close_matches(received, list(known), n=1)


def redacted(text: str) -> str:
    """Text without what is secret in the addresses within it: user and password, and options that look like one."""
    for pattern, hidden in _SECRETS:
        text = pattern.sub(hidden, text)
    return text


def printable(text: str) -> str:
    """Text that may be shown on a terminal: control characters, line ends and lone surrogates are escaped.

    File names and labels come from elsewhere, and an escape sequence in one of them could rewrite the screen.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
