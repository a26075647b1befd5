"""Comma-separated values with a header, for spreadsheets; what does not apply is empty."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from edgecnn.prediction import ErrorResult, Result
from edgecnn.sinks._output import Lines, read_top

SCHEMES = ("csv",)


def open(uri: str, options: Mapping[str, str]) -> CommaSeparated:
    """Open ``csv:-`` or ``csv:FILE``; the option ``top`` says how many labels a row holds.

    Raises:
        UsageError: An unknown option.
        SinkError: The file cannot be written.
    """
    top = read_top("csv", options)
    return CommaSeparated(Lines(uri), top)


class CommaSeparated:
    """A sink of rows; the header is written with the first of them."""

    def __init__(self, lines: Lines, top: int) -> None:
        self._lines, self._top = lines, top
        self._columns: list[str] = []

    def write(self, result: Result | ErrorResult) -> None:
        """Write one row."""
        values = {"source": result.source}
        if isinstance(result, ErrorResult):
            values |= {"error": result.error}
        else:
            for rank, (label, score) in enumerate(result.prediction.top(self._top), start=1):
                suffix = f"_{rank}" if rank > 1 else ""
                values |= {f"label{suffix}": label, f"score{suffix}": f"{score:.6f}"}
            values |= {"unknown": str(result.prediction.unknown).lower(), "model": result.model}
            values |= {"device": result.device} | {f"{name}_ms": f"{time:.3f}" for name, time in result.ms.items()}
            values |= {"index": "" if result.index is None else str(result.index), "time": result.labelled_at}
        if not self._columns:
            self._columns = self._header()
            self._lines.write(_row(self._columns))
        self._lines.write(_row([values.get(column, "") for column in self._columns]))

    def close(self) -> None:
        """Close the file; idempotent."""
        self._lines.close()

    def _header(self) -> list[str]:
        further = [f"{name}_{rank}" for rank in range(2, self._top + 1) for name in ("label", "score")]
        times = [f"{name}_ms" for name in ("decode", "preprocess", "inference", "capture_to_label", "glass_to_label")]
        return ["source", "label", "score", *further, "unknown", "error", "model", "device", *times, "index", "time"]


def _row(values: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()
