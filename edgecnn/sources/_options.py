"""What the options of sources have in common."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence

from edgecnn.errors import UsageError, refuse_unknown_options
from edgecnn.frames import LIVE_OPTIONS, VIEW_OPTIONS


def refuse_unknown(source: str, options: Mapping[str, str], own: Sequence[str], *, live: bool) -> None:
    """Check the names of a source's options; those that every source takes have been taken out before.

    Raises:
        UsageError: One is unknown; the message lists all there are.
    """
    if not set(options) <= set(own):
        refuse_unknown_options(source, options, (*own, *VIEW_OPTIONS, *(LIVE_OPTIONS if live else ())))


def note_misplaced(address: str, own: Sequence[str]) -> None:
    """Warn where the query of an address, which is its server's, holds what looks like an option of ours."""
    query = address.partition("#")[0].partition("?")[2]
    found = [name for name in (*own, *VIEW_OPTIONS, *LIVE_OPTIONS) if f"&{name}=" in f"&{query}"]
    if found:
        warnings.warn(
            f"{found[0]} goes to the server, as all that follows the ? of an address; for edgecnn it must follow a #",
            stacklevel=2,
        )


def whole(options: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """An option that is a whole number.

    Raises:
        UsageError: It is none, or not within `least` and `most`.
    """
    text = options.get(name, str(default))
    if name in options and not (re.fullmatch("[0-9]{1,10}", text) and least <= int(text) <= most):
        raise UsageError(f"{name} must be a whole number from {least} to {most}; received {text!r}")
    return int(text)


def size(text: str, least: int, most: int, example: str) -> tuple[int, int]:
    """Width and height from ``640x480``.

    Raises:
        UsageError: Something else, or a side that is not within `least` and `most`.
    """
    found = re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", text)
    width, height = map(int, found.groups()) if found else (0, 0)
    if not least <= min(width, height) <= max(width, height) <= most:
        rule = f"size must be WIDTHxHEIGHT in pixels, each {least} to {most}"
        raise UsageError(f"{rule}; received {text!r}: type size={example}")
    return width, height
