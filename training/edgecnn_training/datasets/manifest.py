"""A CSV, TSV or JSONL file of path, label and, if you like, split and group; paths relative to the file."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

from edgecnn.errors import DataError, ImageError
from edgecnn_training.datasets._files import Note, first_bytes, ignore, read_file
from edgecnn_training.examples import SPLIT_ALIASES, Example, Item, Rejected

_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
_COLUMNS = ("path", "label", "split", "group")
_CONTROL = bytes(set(range(32)) - {9, 10, 13})

_Row = tuple[int, Mapping[str, str]]


def accepts(location: str) -> bool:
    """Whether it is text that begins with a JSON object or with a header, or text in a file named like a manifest."""
    head = first_bytes(location, 4096)
    if not head or head.translate(None, _CONTROL) != head:
        return False
    text = head.decode("utf-8-sig", "replace")
    columns = {column.strip('" \r').lower() for column in _split(text.partition("\n")[0])}
    named = Path(location).suffix.lower() in _SUFFIXES
    return named or text.lstrip().startswith("{") or {"path", "label"} <= columns


def why_not(location: str) -> str:
    """Why a file that is named like a manifest is none; empty where that can be anything."""
    head = first_bytes(location, 4096)
    if Path(location).suffix.lower() not in _SUFFIXES or not head:
        return ""
    found = sorted(set(head) & set(_CONTROL))
    return f"a manifest must be UTF-8 text, and it has a byte {found[0]:#04x}: save it as UTF-8" if found else ""


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """Every line's picture as an example.

    Raises:
        DataError: A manifest that cannot be understood, with the number of the line.
    """
    folder = Path(location).parent
    try:
        with open(location, encoding="utf-8-sig", newline="") as file:
            is_json = file.read(4096).lstrip().startswith("{")
            file.seek(0)
            for line, row in _json_rows(file, location) if is_json else _csv_rows(file, location, note):
                yield _item(folder, row, f"{os.path.basename(location)}, line {line}")
    except UnicodeDecodeError as error:
        raise DataError(
            f"a manifest must be UTF-8 text; {location} is not ({error.reason}): save it as UTF-8"
        ) from error
    except csv.Error as error:
        raise DataError(f"{location} cannot be read as CSV ({error}); save it again as CSV or JSONL") from error


def _item(folder: Path, row: Mapping[str, str], line: str) -> Item:
    path, label, given = (row.get(column, "").strip() for column in _COLUMNS[:3])
    if not path or not label:
        return Rejected(path or line, f"no {'label' if path else 'path'} in {line}")
    split = SPLIT_ALIASES.get(given.lower())
    if given and split is None:
        raise DataError(f"split must be one of train, validation, test or empty; received {given!a} in {line}")
    try:
        return Example(read_file(folder / path), label, path, split, row.get("group", "").strip() or None)
    except ImageError as error:
        return Rejected(path, str(error))


def _csv_rows(file: TextIO, location: str, note: Note) -> Iterator[_Row]:
    header = file.readline()
    delimiter = _delimiter(header)
    columns = [column.strip().lower() for column in next(csv.reader([header], delimiter=delimiter), [])]
    if not {"path", "label"} <= set(columns):
        raise DataError(
            f"the first line of a manifest must name the columns path,label and, if you like, split,group; received "
            f"{header.strip()[:80]!a} in {location}"
        )
    _note_unused(columns, note)
    reader = csv.reader(file, delimiter=delimiter)
    for fields in reader:
        if fields:
            yield reader.line_num + 1, dict(zip(columns, fields, strict=False))


def _json_rows(file: Iterable[str], location: str) -> Iterator[_Row]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"each line of {location} must be a JSON object; line {number} is not ({error})") from error
        if not isinstance(row, dict) or any(isinstance(row.get(column), (dict, list)) for column in _COLUMNS):
            raise DataError(
                f'each line of {location} must be an object such as {{"path": "1.jpg", "label": "cat"}}; received '
                f"{line.strip()[:80]!a} in line {number}"
            )
        yield number, {column: str(row[column]) for column in _COLUMNS if row.get(column) is not None}


def _delimiter(header: str) -> str:
    """Tab, semicolon (spreadsheets in much of Europe) or comma."""
    return next((delimiter for delimiter in "\t;" if delimiter in header), ",")


def _split(header: str) -> list[str]:
    return header.split(_delimiter(header))


def _note_unused(columns: Iterable[str], note: Note) -> None:
    unused = [column for column in columns if column not in _COLUMNS]
    if unused:
        note(f"columns of the manifest that are not used: {', '.join(map(ascii, unused))}")
