"""JSON lines, one record per picture, for programs; ``record.schema.json`` describes a record."""

from __future__ import annotations

import json
from collections.abc import Mapping

from edgecnn.prediction import ErrorResult, Result
from edgecnn.sinks._output import Lines, read_top

SCHEMES = ("jsonl",)


def open(uri: str, options: Mapping[str, str]) -> JsonLines:
    """Open ``jsonl:-`` or ``jsonl:FILE``; the option ``top`` says how many labels a record holds.

    Raises:
        UsageError: An unknown option.
        SinkError: The file cannot be written.
    """
    top = read_top("jsonl", options)
    return JsonLines(Lines(uri), top)


class JsonLines:
    """A sink of JSON lines."""

    def __init__(self, lines: Lines, top: int) -> None:
        self._lines, self._top = lines, top

    def write(self, result: Result | ErrorResult) -> None:
        """Write one record."""
        record = result.to_record(self._top) if isinstance(result, Result) else result.to_record()
        self._lines.write(json.dumps(record, ensure_ascii=False))

    def close(self) -> None:
        """Close the file; idempotent."""
        self._lines.close()
