"""Where the two parts of notMNIST lie in a folder; shared by `notmnist` and `folder`."""

from __future__ import annotations

from pathlib import Path

LARGE, SMALL = "notMNIST_large", "notMNIST_small"


def parts(location: str) -> tuple[str, str] | None:
    """The large and the small part, each a folder or else a .tar.gz; None where a folder has not both of them."""
    large, small = (_part(location, stem) for stem in (LARGE, SMALL))
    return None if large is None or small is None else (large, small)


def _part(location: str, stem: str) -> str | None:
    folder, archive = Path(location) / stem, Path(location) / f"{stem}.tar.gz"
    try:
        if folder.is_dir():
            return str(folder)
        return str(archive) if archive.is_file() else None
    except (OSError, ValueError):
        return None
