"""Reading event files back, without the code that wrote them: records by struct, checksums bit by bit."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def crc32c(data: bytes) -> int:
    """CRC-32C as RFC 3720, appendix B.4, has it: reflected, polynomial 0x1EDC6F41."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path: Path) -> Iterator[bytes]:
    """A file's records; a half one at its end, which a killed process leaves, is left out as TensorBoard does."""
    content, at = path.read_bytes(), 0
    while at + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        data = content[at + 12 : at + 12 + length]
        if at + 16 + length > len(content):
            return
        assert struct.unpack_from("<I", content, at + 8) == (masked(content[at : at + 8]),)
        assert struct.unpack_from("<I", content, at + 12 + length) == (masked(data),)
        yield data
        at += 16 + length


def read_events(folder: Path, *, purged: bool = True) -> list[Any]:
    """The events of a folder in TensorBoard's order; those that a restart has made void are left out."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    events: list[Any] = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for data in records(path):
            event = Event.FromString(data)
            if purged and event.session_log.status == SessionLog.START:
                events = [earlier for earlier in events if earlier.step < event.step]
            else:
                events.append(event)
    return events


def values(folder: Path, tag: str, *, purged: bool = True) -> list[tuple[int, Any]]:
    """Step and summary value of each event with a tag."""
    found = [(event.step, value) for event in read_events(folder, purged=purged) for value in event.summary.value]
    return [(step, value) for step, value in found if value.tag == tag]


def tags(folder: Path) -> set[str]:
    return {value.tag for event in read_events(folder) for value in event.summary.value}
