"""The text of a configuration, as ``--config`` names it; needs the standard library only."""

from __future__ import annotations

import os

from edgecnn.errors import SourceError, UsageError

_MOST_BYTES = 64 << 10
LONGEST_LINE = 4096  # tomllib needs quadratic time for dotted keys: half a minute for 100 KB of them


def read_config_file(path: str) -> str:
    """Read a configuration; whether it is TOML is not looked at.

    Args:
        path: The file; one that an editor under Windows has marked is taken as well.

    Raises:
        SourceError: It is missing, no file, too large, or cannot be read.
        UsageError: It is no text.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe may never end
            raise SourceError(f"--config must name a TOML file; {path!r} is none: name another file")
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(_MOST_BYTES + 1)
    except UnicodeDecodeError as error:
        raise UsageError(f"--config must be text in UTF-8; {path}: {error}: save it as such") from error
    except (OSError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        why = getattr(error, "strerror", None) or error
        raise SourceError(f"--config must name a file that can be read; {path!r}: {why}: check it") from error
    if len(text) > _MOST_BYTES or any(len(line) > LONGEST_LINE for line in text.split("\n")):
        rule = f"of at most {_MOST_BYTES >> 10} KB with lines of at most {LONGEST_LINE:,} characters"
        raise SourceError(f"--config must name a TOML file {rule}; received {path!r}: shorten it")
    return text
