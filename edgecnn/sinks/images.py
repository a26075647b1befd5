"""Annotated pictures: each with its label and score below it, and on request with where the network looked.

``edgecnn predict signs.onnx photos/ --to 'images:drawn?explain=1'``. The options, with what holds where they are not
given:

=========  ======  =====================================================================================
explain    0       1 lays the places that spoke for the label over the picture: yellow a little, red most
format     jpeg    or png
max        0       how many pictures are written in all, 0 is no limit; of a live feed 1,000 unless given
overwrite  0       1 writes into a folder that is not empty
top        3       how many labels are named
=========  ======  =====================================================================================

A picture gets the name of its source (``photos/cat.jpg`` becomes ``cat.jpg``, a second one ``cat-2.jpg``), a frame of a
live feed its number as well (``test-000042.jpg``). What the folder holds is never lost: without ``overwrite`` it must
be empty, hidden files aside, and with it only pictures are replaced that this sink has drawn, in an earlier run.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import pathlib
import unicodedata
import warnings
from collections.abc import Mapping
from urllib.parse import unquote

from edgecnn.errors import SinkError, UsageError, refuse_unknown_options
from edgecnn.files import write_whole
from edgecnn.prediction import SINK_OPTIONS, ErrorResult, Result

SCHEMES = ("images",)

MARK = "drawn by edgecnn predict"
"""Stands in each file, as a JPEG's comment or a PNG's ``Software``."""

_OPTIONS = ("explain", "format", "max", "overwrite", "top")
_ENDINGS = {"jpeg": ".jpg", "png": ".png"}
_LIVE_MAX = 1000
_HEAD_BYTES = 4096  # of a file, in which the mark stands
_NAME_BYTES = 100
_FORBIDDEN = frozenset('<>:"/\\|?*')  # in names of files, on one system or another


def open(uri: str, options: Mapping[str, str]) -> Pictures:
    """Open ``images:FOLDER``; the folder is made where it is missing.

    Args:
        uri: ``images:`` and the folder; ``%3F`` stands for ``?``, which would begin the query.
        options: The module lists them.

    Raises:
        UsageError: An unknown option, a value that one cannot have, or no folder.
        SinkError: The folder cannot be made or written to, is a file, or is not empty.
    """
    refuse_unknown_options("the sink images", options, (*_OPTIONS, *SINK_OPTIONS))
    kind = options.get("format", "jpeg")
    kind = {"jpg": "jpeg"}.get(kind, kind)
    if kind not in _ENDINGS:
        raise UsageError(f"format must be one of {', '.join(_ENDINGS)}; received {kind!r}")
    folder = unquote(uri.partition(":")[2])
    if folder in ("", "-"):
        raise UsageError(f"the sink images must name a folder; received {uri!r}: type images:drawn")
    overwrite = _switch(options, "overwrite")
    return Pictures(
        folder,
        kind=kind,
        explain=_switch(options, "explain"),
        limit=_number(options, "max", 0) if "max" in options else None,
        top=_number(options, "top", 1),
        made=_prepared(folder, overwrite=overwrite),
    )


class Pictures:
    """A sink that draws each prediction into a file of its own; an input that failed has no picture.

    Args:
        folder: Where to, ready.
        kind: ``"jpeg"`` or ``"png"``.
        explain: Whether to show where the network looked.
        limit: How many at most; 0 is no limit, None is none but for a live feed.
        top: How many labels to name.
        made: Whether the folder was made for this, so that it goes again if nothing is written into it.
    """

    def __init__(self, folder: str, *, kind: str, explain: bool, limit: int | None, top: int, made: bool) -> None:
        self._folder, self._kind, self._explain, self._top = folder, kind, explain, top
        self._limit, self._made = limit, made
        self._names: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._open, self._told = True, False
        self.wants = ("image", "activation_map") if explain else ("image",)

    def write(self, result: Result | ErrorResult) -> None:
        """Draw one prediction.

        Warns:
            UserWarning: Once, when as many are drawn as may be.
        """
        if not self._open:
            raise SinkError("a closed sink cannot be written to; open it again")
        if isinstance(result, ErrorResult):
            return
        if result.image is None or (self._explain and result.prediction.explanation is None):
            raise UsageError(
                "the sink images draws the picture itself; the result has none, or no explanation: pass results on "
                "with edgecnn.run, which asks the sink what it wants"
            )
        limit = self._limit if self._limit is not None else 0 if result.index is None else _LIVE_MAX
        if limit and len(self._names) >= limit:
            if not self._told:
                more = "; max=0 has no limit" if self._limit is None else ""
                warnings.warn(f"{limit:,} pictures are in {self._folder}, no more are drawn{more}", stacklevel=2)
            self._told = True
            return
        from edgecnn.sinks._drawing import annotated  # here: fonts and drawing cost a prediction's start 5 ms

        picture = annotated(result.image, result.prediction, top=self._top, explain=self._explain)
        data = io.BytesIO()
        if self._kind == "png":
            from PIL.PngImagePlugin import PngInfo

            about = PngInfo()
            about.add_text("Software", MARK)
            picture.save(data, "PNG", pnginfo=about)
        else:
            picture.save(data, "JPEG", quality=90, comment=MARK)
        self._store(self._name(result), data.getvalue())

    def close(self) -> None:
        """Remove the folder if it was made for nothing; idempotent."""
        if self._open and self._made and not self._names:
            with contextlib.suppress(OSError):
                os.rmdir(self._folder)
        self._open = False

    def _name(self, result: Result) -> str:
        """A file name that no other picture of this run has, and no file that somebody else made."""
        stem = stem_of(result.source) + ("" if result.index is None else f"-{result.index:06}")
        number = self._numbers.get(stem.casefold(), 0)
        while True:
            number += 1
            name = (stem if number == 1 else f"{stem}-{number}") + _ENDINGS[self._kind]
            if name.casefold() not in self._names and self._may_be_written(name, result.source):
                self._numbers[stem.casefold()] = number
                self._names.add(name.casefold())
                return name

    def _may_be_written(self, name: str, source: str) -> bool:
        path = os.path.join(self._folder, name)
        try:
            with builtins.open(path, "rb") as file:
                own = MARK.encode() in file.read(_HEAD_BYTES)
            return own and not (os.path.exists(source) and os.path.samefile(source, path))
        except FileNotFoundError:
            return not os.path.islink(path)
        except (OSError, ValueError):  # a folder, or no permission to look; a null byte in the source's name
            return False

    def _store(self, name: str, data: bytes) -> None:
        path = os.path.join(self._folder, name)
        try:
            write_whole(pathlib.Path(path), data)
        except OSError as error:
            raise SinkError(
                f"a picture cannot be written to {path!r} ({error.strerror}); free some space there, or name another "
                "folder"
            ) from error


def stem_of(source: str) -> str:
    """The name of a source as a file may be called, without its ending: no folder, no password, nothing hidden.

    Args:
        source: As the user named it: a path, ``-``, a camera, an address.
    """
    if "://" in source:
        place, _, query = source.partition("?")
        # an @ behind a question mark: one of a query, or of a password that holds one, and then nothing here is safe
        source = "" if "@" in query else place.rpartition("@")[2]
    last = source.replace("\\", "/").rstrip("/:").rpartition("/")[2]
    stem, dot, ending = last.rpartition(".")
    name = stem if dot and stem and len(ending) <= 5 else last
    name = unicodedata.normalize("NFC", name)
    name = "".join(c if c.isprintable() and c not in _FORBIDDEN else "_" for c in name)
    name = name.encode()[-_NAME_BYTES:].decode(errors="ignore").strip(" .-_~")  # names differ at their ends
    return name or "picture"


def _prepared(folder: str, *, overwrite: bool) -> bool:
    """Make the folder, or see that it may be used; whether it was made."""
    try:
        made = not os.path.isdir(folder)
        if made:
            os.makedirs(folder)
        there = [name for name in os.listdir(folder) if not name.startswith(".")]
        if there and not overwrite:
            raise SinkError(
                f"pictures must go into an empty folder; {folder!r} holds {len(there):,}, {sorted(there)[0]!r} for "
                "one: name another, or add overwrite=1, which replaces what edgecnn has drawn and nothing else"
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except SinkError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        why = getattr(error, "strerror", None) or str(error)
        raise SinkError(f"pictures cannot be written to {folder!r} ({why}); name another folder") from error
    return made


def _switch(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "0")
    if text not in ("0", "1"):
        raise UsageError(f"{name} must be 0 or 1; received {text!r}")
    return text == "1"


def _number(options: Mapping[str, str], name: str, least: int) -> int:
    text = options.get(name, "3")
    if not (text.isdecimal() and text.isascii() and len(text) <= 9 and int(text) >= least):
        raise UsageError(f"{name} must be a number from {least} on; received {text!r}")
    return int(text)
