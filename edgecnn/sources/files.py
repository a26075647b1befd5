"""Pictures in files: one file, all of a folder, a quoted pattern such as ``'photos/**/*.jpg'``, or ``@list.txt``.

A list holds a path on each line, seen from where the list lies; blank lines and those that begin with ``#`` do not
count. A video that is named gives all its frames; one in a folder is told, and left out. Every file is tried, in
natural order (``2.jpg`` before ``10.jpg``) and once per folder, whatever symbolic links do.
Hidden files and folders are passed over, as a shell does. A file that is no picture is a `Failure`, and the rest goes
on.
"""

from __future__ import annotations

import builtins
import fnmatch
import os
import re
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from edgecnn.decode import decode_file
from edgecnn.errors import ImageError, SourceError, redacted
from edgecnn.frames import Failure, Frame, Item
from edgecnn.sources import _av
from edgecnn.sources._options import refuse_unknown

SCHEMES = ("file",)

_PATTERN = re.compile(r"[*?\[]")
_MAX_LIST = 64 << 20
_REMEDY = "name a picture, a folder of pictures, a quoted pattern such as 'photos/*.jpg', or - for standard input"


def open(uri: str, options: Mapping[str, str]) -> Files | Video:
    """Find the files of a path, a folder or a pattern; they are read when the source is iterated.

    Args:
        uri: The path as it is, or after ``file:``.
        options: None exist.

    Raises:
        UsageError: Any option.
        SourceError: Nothing there, no file in the folder, none that matches, or not a regular file.
        MissingExtraError: A video, and PyAV is not installed.
    """
    refuse_unknown("the source file:", options, (), live=False)
    path = uri if os.path.lexists(uri) else uri.removeprefix("file:")
    if os.path.isdir(path):
        return Files(_some(list(_in_folder(path, None)), f"no file in the folder {path!r}"))
    if os.path.exists(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise SourceError(f"a source must be a regular file or a folder; {path!r} is a device, a pipe or a socket")
        return Video(path) if _is_video(path) else Files([path])
    if path.startswith("@"):
        return Files(_some(_listed(path[1:]), f"no path in the list {path[1:]!r}"))
    if _PATTERN.search(path) and not _meant(path):
        return Files(_some(list(_matching(path)), f"no file matches the pattern {path!r}"))
    if re.match("[A-Za-z][A-Za-z0-9+.-]*:/", path):
        kind = path.partition(":")[0]
        raise SourceError(
            f"no source {kind}: with an address; an address begins with rtsp:// or http://, and others are read by a "
            "program: 'exec:ffmpeg …'"
        )
    raise SourceError(f"no file or folder {redacted(path)!r}; {_meant(path) or _REMEDY}")


class Files:
    """A source of the pictures in `paths`, in this order."""

    live = False

    def __init__(self, paths: Sequence[str | Failure]) -> None:
        self._paths = paths

    def __iter__(self) -> Iterator[Frame | Failure]:
        """Read and decode one file after the other."""
        for index, path in enumerate(self._paths):
            if isinstance(path, Failure):
                yield path
                continue
            if _is_video(path):
                yield Failure(path, ImageError("a video, which must be named by itself"))
                continue
            started = time.perf_counter()
            try:
                image = decode_file(path)
            except (ImageError, SourceError) as error:
                yield Failure(path, error)
            else:
                yield Frame(image, path, index, (time.perf_counter() - started) * 1000)

    def close(self) -> None:
        """Nothing to give back: no file stays open."""


class Video:
    """A source of all frames of a video, in order.

    Args:
        path: The file.

    Raises:
        MissingExtraError: PyAV is not installed.
    """

    live = False

    def __init__(self, path: str) -> None:
        _av.load()
        self._path = path
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        """Decode one frame after the other.

        Raises:
            SourceError: It is no video, or damaged.
        """
        try:
            container = _av.opened(self._path, self._path, options={"protocol_whitelist": _av.FILES}, timeout=False)
        except SourceError as error:
            if _av.NO_DATA in str(error):
                raise SourceError(f"{self._path} is no video, or not a whole one: copy it anew") from error
            raise
        yield from _av.frames(container, self._path, live=False, closed=self._closed)

    def close(self) -> None:
        """End with the next frame; idempotent."""
        self._closed.set()


def _meant(path: str) -> str:
    """What to type where a name looks like something else than a file."""
    place, found, options = path.partition("?")
    if found and "=" in options and os.path.exists(place):
        return f"for options type 'file:{path}'"
    if re.fullmatch("[0-9]", path):
        return f"for a webcam type usb:{path}"
    if re.fullmatch(r"[\w.-]+:[0-9]{2,5}(/.*)?", path):
        return f"for an address on the network type http://{path} or rtsp://{path}"
    if re.fullmatch("(webcam|camera|cam|csi|picam|video)[0-9:]*", path, re.IGNORECASE):
        return "edgecnn cameras lists the cameras there are, with what to type for each"
    return ""


def _is_video(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in _av.VIDEO_ENDINGS


def _listed(path: str) -> list[str | Failure]:
    """The paths in a list."""
    try:
        with builtins.open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = file.read(_MAX_LIST + 1)
    except OSError as error:
        raise SourceError(f"the list {path!r} cannot be read ({error.strerror}); check it") from error
    if len(lines) > _MAX_LIST:
        raise SourceError(f"a list must have at most {_MAX_LIST:,} characters; {path!r} has more: split it")
    named = (line.strip() for line in lines.splitlines())
    return [os.path.join(os.path.dirname(path), name) for name in named if name and not name.startswith("#")]


def _some(paths: list[str | Failure], nothing: str) -> list[str | Failure]:
    if not paths:
        raise SourceError(f"{nothing}; {_REMEDY}")
    return paths


def _in_folder(folder: str, depth: int | None) -> Iterator[str | Failure]:
    """Files of a folder and of those in it, in natural order, `depth` folders deep at most (None: all)."""
    waiting: list[tuple[str, int]] = [(folder, 0)]
    seen: set[tuple[int, int]] = set()  # a symbolic link may lead back to a folder that holds it
    while waiting:
        path, level = waiting.pop()
        if level == 0 or os.path.isdir(path):
            try:
                status = os.stat(path)
                names = sorted(os.listdir(path), key=_natural, reverse=True)
            except OSError as error:
                yield Failure(
                    path, SourceError(f"a folder that cannot be opened ({error.strerror}); check its permissions")
                )
                continue
            if (status.st_dev, status.st_ino) not in seen and (depth is None or level <= depth):
                seen.add((status.st_dev, status.st_ino))
                waiting.extend((os.path.join(path, name), level + 1) for name in names if not name.startswith("."))
        else:
            yield path


def _matching(pattern: str) -> Iterator[str | Failure]:
    """Files that a pattern names; ``**`` stands for any number of folders."""
    parts = pattern.split("/")
    plain = next(i for i, part in enumerate(parts) if _PATTERN.search(part))
    base, wanted = "/".join(parts[:plain]), parts[plain:]
    prefix = f"{base}/" if plain else ""
    folder = prefix or "./"
    if not os.path.isdir(folder):
        return
    for path in _in_folder(folder, None if "**" in wanted else len(wanted) - 1):
        if isinstance(path, Failure):
            yield path
        elif _matches(path.removeprefix(folder).split("/"), wanted):
            yield prefix + path.removeprefix(folder)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:] or ["*"]) for i in range(len(parts)))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key under which ``2.jpg`` comes before ``10.jpg``."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]
