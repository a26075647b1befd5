"""Natural order: ``IMG_9`` before ``IMG_10``, as a person would sort file names."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"(\d+)")

Key = tuple[tuple[tuple[int, str], ...], str]


def natural_key(text: str) -> Key:
    """Sort key that compares runs of digits by their value and the rest without regard to case.

    Numbers are compared as digit strings by length, then text, so that a name of 5,000 digits is no trouble.
    """
    pieces = _DIGITS.split(text)  # text at even places, digits at odd ones
    pieces[1::2] = (digits.lstrip("0") for digits in pieces[1::2])
    return tuple((i % 2 * len(p), p if i % 2 else p.casefold()) for i, p in enumerate(pieces)), text
