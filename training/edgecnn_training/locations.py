"""Where a data set lies: a path or a name, and options as a query, ``notmnist?train=200000``.

What exists is a path as a whole, whatever its name holds.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgecnn.plugins import split_query


def split(location: str) -> tuple[str, dict[str, str]]:
    """Path or name, and the options of the data set.

    Raises:
        UsageError: What follows the ``?`` is no list of options.
    """
    if "?" not in location or os.path.lexists(location):
        return location, {}
    return split_query(location)


def place(location: str) -> str:
    """Path or name without the options."""
    return split(location)[0]


def absolute(location: str) -> str:
    """The same location seen from everywhere; a name stays a name."""
    path = place(location)
    return os.path.abspath(path) + location[len(path) :] if os.path.exists(path) else location


def holds(location: str, path: Path) -> bool:
    """Whether a path lies in the folder of a data set."""
    folder = Path(place(location))
    return folder.is_dir() and path.absolute().resolve().is_relative_to(folder.resolve())
