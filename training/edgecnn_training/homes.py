"""Where libraries keep what they write for themselves: in our cache, and not in the user's home folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def keep_home_clean() -> None:
    """Send Keras's and Matplotlib's own files to ``$XDG_CACHE_HOME/edgecnn/``; called before they are imported.

    Who has a folder of theirs already, or has set where it lies, keeps it.
    """
    with suppress(RuntimeError):  # this user has no home folder
        home, cache = Path.home(), os.environ.get("XDG_CACHE_HOME", "")
        ours = (Path(cache) if os.path.isabs(cache) else home / ".cache") / "edgecnn"
        for variable, theirs, name in (
            ("KERAS_HOME", home / ".keras", "keras"),
            ("MPLCONFIGDIR", home / ".config" / "matplotlib", "matplotlib"),
        ):
            if not theirs.exists():
                os.environ.setdefault(variable, str(ours / name))


def keras_home() -> Path:
    """Where Keras keeps what it downloads, once `keep_home_clean` was called."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
