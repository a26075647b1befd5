"""``edgecnn cameras``: which cameras are there, and what to type for each."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Annotated

import typer

from edgecnn.cli.streams import tell
from edgecnn.errors import printable

_NONE = (
    "no camera found. A webcam: plug it in, and try again. A Raspberry Pi's own: check its ribbon cable, and type "
    "rpicam-hello --list-cameras. A network camera is not looked for: type its address, rtsp://… or http://…. "
    "Without any camera: test:"
)


def cameras(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines also on a terminal.")] = False,
) -> None:
    """List the cameras of this machine, with the SOURCE to type for each."""
    from edgecnn.opening import find_cameras
    from edgecnn.sources import _v4l

    found = find_cameras()
    if as_json or sys.stdout is None or not sys.stdout.isatty():
        for camera in found:
            print(json.dumps({"type": "camera", "source": camera.source, "name": camera.name}))  # noqa: T201
    else:
        width = max((len(shlex.quote(camera.source)) for camera in found), default=0)
        for camera in found:
            print(f"{shlex.quote(camera.source):<{width}}  {printable(camera.name)}")  # noqa: T201
    closed = _v4l.unreadable()
    if closed:
        tell(f"note: {', '.join(closed)} may not be opened: sudo usermod -aG video $USER, then log in again")
    if not found:
        tell(_NONE)
    else:
        tell(f"next:  edgecnn predict MODEL {shlex.quote(found[0].source)}")
