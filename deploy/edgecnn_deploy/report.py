"""What `edgecnn deploy` tells: a line for each device as it comes, a table at the end, and what to type next."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgecnn.cli.streams import stopped_by_signals, tell
from edgecnn.errors import SourceError, UsageError, printable
from edgecnn_deploy.connection import Outcome
from edgecnn_deploy.fleet import deploy_all
from edgecnn_deploy.heard import KEPT
from edgecnn_deploy.hosts import Host
from edgecnn_deploy.order import Order
from edgecnn_deploy.parcel import Parcel

_INTERRUPTED = 130
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NUMBERS = ("score", "latency_ms", "memory_mb", "temperature_c")
_COLUMNS = {
    "host": "",
    "label": "",
    "score": "",
    "latency_ms": " ms",
    "memory_mb": " MB",
    "temperature_c": " °C",
    "state": "",
}
_TAIL = 8  # lines of a device's own story where it failed


def run(order: Order, options: Sequence[str], *, jobs: int) -> int:
    """Deploy, tell of it, and return the exit code.

    Args:
        order: What to bring where.
        options: More options for ssh.
        jobs: How many devices at a time.
    """
    if not all(one.strip() for one in options):
        raise UsageError("--ssh-option must be as after ssh's -o; received an empty one: IdentityFile=FILE")
    outcomes: list[Outcome] = []
    alone, stopped = len(order.hosts) == 1, False

    def told(host: Host, line: str) -> None:
        if alone and line.strip():
            tell(f"{host.typed}: {line}")

    def show(outcome: Outcome) -> None:
        outcomes.append(outcome)
        for line in _sentences(outcome, alone=alone):
            tell(f"{outcome.host.typed}: {line}")
        if not _on_terminal():
            print(json.dumps(_record(outcome, order), ensure_ascii=False), flush=True)  # noqa: T201

    try:
        with stopped_by_signals(), _packed(order) as parcel:
            deploy_all(order.hosts, parcel, options, jobs=jobs, wait_s=order.wait_s, tell=told, show=show)
    except KeyboardInterrupt:
        stopped = True
    if outcomes and _on_terminal():
        print("\n".join(table(outcomes)), flush=True)  # noqa: T201
    failed = [one for one in outcomes if one.error]
    if failed and not alone:
        tell(f"{len(failed)} of {len(outcomes)} devices failed: {', '.join(one.host.typed for one in failed)}")
    if stopped:
        tell("stopped" if outcomes else "stopped: nothing was sent yet")
        return _INTERRUPTED
    well = next((one for one in outcomes if not one.error), None)
    if well and not order.removal:
        tell(f"next:  {well.host.command(f'journalctl -fu edgecnn@{order.name}')}")
    return 1 if failed else 0


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


@contextlib.contextmanager
def _packed(order: Order) -> Iterator[Parcel]:
    """An order in a file without a name: whatever ends this program, nobody reads the passwords in it later."""
    try:
        with contextlib.ExitStack() as stack:
            archive = stack.enter_context(tempfile.TemporaryFile())
            with tempfile.TemporaryDirectory(prefix="edgecnn-") as scratch:  # gone before the first device is at work
                parcel = order.pack(Path(scratch), archive, tell)
            kept = stack.pop_all()
    except OSError as error:
        full = os.strerror(errno.ENOSPC)  # what pip and shutil tell has it in the text only
        if error.errno not in _FULL and full not in str(error) and tempfile.tempdir is not None:
            raise
        where = f" in {tempfile.tempdir}" if tempfile.tempdir else ""  # it is None where no folder takes a file
        rule = f"temporary files must be written to deploy; {error.strerror or full}{where}"
        raise SourceError(f"{rule}: free some space, or set TMPDIR to a folder on a larger disk") from error
    with kept:
        yield parcel


def _record(outcome: Outcome, order: Order) -> dict[str, object]:
    """A device's line of JSON; edgecnn is removed with all services of a device, whatever their names."""
    values = outcome.values
    record: dict[str, object] = {"type": "deploy", "host": outcome.host.typed}
    record |= {} if order.removal else {"name": order.name}
    record["state"] = outcome.state
    record |= {key: float(values[key]) for key in _NUMBERS if key in values}
    record |= {key: values[key] for key in ("label", "version") if key in values}
    return record | ({"error": outcome.error} if outcome.error else {})


def _sentences(outcome: Outcome, *, alone: bool) -> list[str]:
    """What is told of a device once it is done: nothing that was told before, or that the table tells."""
    if not outcome.error:
        if _on_terminal():
            return [] if alone else [outcome.state]
        return [", ".join(f"{outcome.values[key]}{unit}" for key, unit in _COLUMNS.items() if key in outcome.values)]
    last = f"error: {outcome.error}"
    if alone and last in outcome.story and len(outcome.story) < KEPT:  # passed on as it came
        return []
    before = [] if alone else [line for line in outcome.story if line.strip() and line != last][-_TAIL:]
    gone_back = "; the previous state is back" if outcome.state == "rolled-back" else ""
    return [*before, f"{last}{gone_back}"]


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """A row for each device, numbers to the right.

    Args:
        outcomes: In the order of the rows.
    """
    rows = [[name.partition("_")[0] for name in _COLUMNS]]
    for one in outcomes:
        values = {**one.values, "state": one.state, "host": one.host.typed}
        rows.append([f"{values[name]}{unit}" if name in values else "–" for name, unit in _COLUMNS.items()])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(row, widths, _COLUMNS, strict=True)
        lines.append(
            "  ".join(cell.rjust(width) if name in _NUMBERS else cell.ljust(width) for cell, width, name in cells)
        )
    return [printable(line.rstrip()) for line in lines]
