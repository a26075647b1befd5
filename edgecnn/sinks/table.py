"""An aligned table for people: picture, label, score with a bar, the next labels, time."""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Mapping

from edgecnn.errors import printable
from edgecnn.prediction import ErrorResult, Result
from edgecnn.sinks._output import Lines, read_top

SCHEMES = ("table",)

_SOURCE_CELLS, _LABEL_CELLS, _BAR_CELLS = 32, 20, 20


def open(uri: str, options: Mapping[str, str]) -> Table:
    """Open ``table:-`` or ``table:FILE``; the option ``top`` says how many labels a row holds.

    Raises:
        UsageError: An unknown option.
        SinkError: The file cannot be written.
    """
    top = read_top("table", options)
    return Table(Lines(uri), top)


class Table:
    """A sink of aligned rows; control characters in names are escaped, long names lose their beginning."""

    def __init__(self, lines: Lines, top: int) -> None:
        self._lines, self._top = lines, top

    def write(self, result: Result | ErrorResult) -> None:
        """Write one row."""
        source = _fit(_when(result) + result.source, _SOURCE_CELLS)
        if isinstance(result, ErrorResult):
            self._lines.write(f"{source}  error: {printable(result.error)}")
            return
        prediction = result.prediction
        width = min(_LABEL_CELLS, max(_cells(printable(label)) for label in (*prediction.labels, "unknown")))
        label = "unknown" if prediction.unknown else prediction.label
        shown = 0 if prediction.unknown else 1  # of an unknown picture the first label is a guess like the others
        bar = "▇" * round(prediction.score * _BAR_CELLS)
        others = "  ".join(f"{printable(name)} {score:.2f}" for name, score in prediction.top(self._top)[shown:])
        score = f"{prediction.score:.2f} {bar:<{_BAR_CELLS}}  {_spent_ms(result):6.1f} ms"
        row = f"{source}  {_fit(label, width)}  {score}   {others}"
        self._lines.write(row.rstrip())

    def close(self) -> None:
        """Close the file; idempotent."""
        self._lines.close()


def _when(result: Result | ErrorResult) -> str:
    """The time of day of a live feed's frame; empty for others."""
    time = getattr(result, "time", None)
    if time is None:
        return ""
    at = datetime.datetime.fromtimestamp(time).astimezone()
    return f"{at:%H:%M:%S}.{at.microsecond // 100_000}  "


def _spent_ms(result: Result) -> float:
    """From the frame's arrival to its label; of a picture that lies in a file, all that it took."""
    return result.ms.get("capture_to_label", sum(result.ms.values()))


def _fit(text: str, cells: int) -> str:
    """Text on exactly `cells` cells of the terminal; of a longer one the end stays, where file names differ."""
    text = printable(text)
    if _cells(text) > cells:
        while _cells(text) > cells - 1:
            text = text[1:]
        text = f"…{text}"
    return text + " " * (cells - _cells(text))


def _cells(text: str) -> int:
    """Columns that a text takes on a terminal: two for wide characters, none for combining ones."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
