"""``edgecnn doctor``: what may be wrong with this machine, and what to do about it."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated

import typer

from edgecnn.cli.streams import guarded_stdout
from edgecnn.errors import printable

_SIGNS = {"ok": "✓", "note": "·", "problem": "✗"}


def doctor(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model to try as well, a file or a name of `edgecnn models`: it is loaded, tests itself, is timed.",
            metavar="[MODEL]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines, also on a terminal.")] = False,
) -> None:
    """Look at everything that predicting needs: system, packages, processor, devices, cameras, disk.

    Exit code 0: nothing stands in the way; 1: there is a problem.
    """
    from edgecnn.doctor import examine

    problems = 0
    lines = as_json or sys.stdout is None or not sys.stdout.isatty()
    with guarded_stdout():
        for finding in examine(model):
            problems += finding.state == "problem"
            if lines:
                print(json.dumps({"type": "finding"} | dataclasses.asdict(finding), ensure_ascii=False), flush=True)  # noqa: T201
                continue
            print(f"{_SIGNS[finding.state]} {finding.what:<10} {printable(finding.text)}", flush=True)  # noqa: T201
            if finding.remedy:
                print(f"  {'':<10} → {printable(finding.remedy)}", flush=True)  # noqa: T201
    if problems:
        raise typer.Exit(1)
