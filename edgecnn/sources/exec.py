"""What a program writes to its standard output: ``'exec:ffmpeg -i rtsp://… -f mjpeg -?format=mjpeg'``.

For all that edgecnn has no source for: GStreamer, industrial cameras, a camera on another machine behind ssh. The words
are split as a shell would, but no shell is started: for a pipe type ``'exec:sh -c "… | …"?format=mjpeg'``. The feed is
over when the program ends with exit code 0; with another one it is started anew. Options stand behind the last ``?``:

======  =======  ===========================================================================
format  mjpeg    ``mjpeg``, ``y4m``, ``rgb24``, ``bgr24``, ``gray8`` or ``yuv420p``
size    (none)   width and height, ``640x480``, for all but ``mjpeg`` and ``y4m``
======  =======  ===========================================================================
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping

from edgecnn.errors import MissingProgramError, SourceError, UsageError, redacted
from edgecnn.frames import Item
from edgecnn.sources import _raw
from edgecnn.sources._options import refuse_unknown, size
from edgecnn.sources._process import Program

SCHEMES = ("exec",)
OPTIONS_AFTER = "?"
LIVE = True

_OPTIONS = ("format", "size")
_OF_A_SHELL = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "<", "2>&1"})


def open(uri: str, options: Mapping[str, str]) -> Output:
    """Find the program; it is started when the source is iterated.

    Args:
        uri: ``exec:`` and the command.
        options: The module lists them.

    Raises:
        UsageError: An unknown option or a value that it cannot have, or no command.
        SourceError: There is no such program.
    """
    refuse_unknown("the source exec:", options, _OPTIONS, live=True)
    format = options.get("format", "mjpeg")
    frame = size(options["size"], 1, 16_384, "640x480") if "size" in options else None
    _raw.check_options(format, frame, "the source exec:")
    try:
        command = shlex.split(uri.partition(":")[2])
    except ValueError as error:
        text = f"the command of exec: must have its quotes in pairs ({error}); received {redacted(uri)!r}"
        raise UsageError(text) from error
    if not command:
        raise UsageError("exec: must name a command: 'exec:ffmpeg -i clip.mp4 -f mjpeg -'")
    if _OF_A_SHELL.intersection(command):
        raise UsageError(
            f"exec: starts no shell, so | < > && and ; mean nothing; received {redacted(uri)!r}: type "
            "'exec:sh -c \"…\"'"
        )
    if shutil.which(command[0]) is None:
        raise MissingProgramError(
            f"exec: must name a program that is installed; {command[0]!r} is not found: check its name"
        )
    return Output(name_of(uri), command, format, frame)


def name_of(uri: str) -> str:
    """What records call it: the program, since its arguments may hold what is secret."""
    return f"exec:{uri.partition(':')[2].split(maxsplit=1)[0].rpartition('/')[2]}" if uri.strip("exc: ") else uri


class Output:
    """A live source of the frames that a program writes; it is over when the program ends well."""

    live = True

    def __init__(self, name: str, command: list[str], format: str, size: tuple[int, int] | None) -> None:
        self._name, self._command, self._format, self._size = name, command, format, size
        self._program: Program | None = None
        self._closed = False

    def __iter__(self) -> Iterator[Item]:
        """Start the program and cut its output into frames.

        Raises:
            SourceError: It cannot be started, writes something else, or ends with an error.
        """
        program = self._program = Program(self._command)
        try:
            if self._closed:
                return
            came = False
            for item in _raw.packets(program.output, self._format, self._size, self._name):
                came = True
                yield item
            code = program.wait(2.0)
            if not program.stopped and (code or not came):
                raise SourceError(_ended(self._command[0], code, program.said()))
        finally:
            program.close()

    def close(self) -> None:
        """End the program; idempotent."""
        self._closed = True
        if self._program is not None:
            self._program.stop()


def _ended(name: str, code: int | None, said: list[str]) -> str:
    how = "without a frame" if not code else f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return f"{name} ended {how}" + (f": {said[-1]}" if said else "; try the command by itself")
