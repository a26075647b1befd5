"""TensorBoard's event files, written at once and by the thread that asks for it.

A file is a row of TFRecords: length, its checksum, an ``Event`` message, its checksum (masked CRC-32C, as
tensorflow/core/lib/io/record_writer.h has it). Messages and checksum are tensorboardX's. Its ``SummaryWriter`` is not
used: it writes in a thread of its own, and where that fails, on a full disk, the events after it fill a queue that
nobody empties, and the training waits for ever (seen with tensorboardX 2.6.5).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import struct
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from edgecnn.errors import needs
from edgecnn_training.pictures import Images

_NAME = re.compile(r"events\.out\.tfevents\.(\d{10})\.edgecnn")
_BUCKETS = 64  # TensorBoard shows 30
_MOST_VALUES = 16_384  # of a large tensor so many, drawn at random: the shape is the same, the time is not


def messages(name: str) -> ModuleType:
    """The module with the protobuf messages of a ``.proto`` file of TensorBoard's.

    Raises:
        MissingExtraError: tensorboardX is not installed.
    """
    needs("tensorboardX", "train", "to write TensorBoard's files")
    return importlib.import_module(f"tensorboardX.proto.{name}_pb2")


class EventFile:
    """A new event file in a folder; those that are there stay, and TensorBoard reads them before it.

    Args:
        folder: Made where it is missing. TensorBoard calls it a run.
        purge_step: What earlier files have of this step or a later one is void: a resumed run trains it again.

    Raises:
        OSError: It cannot be written; so do all methods but `close`.
        MissingExtraError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        self._messages, self._summaries = messages("event"), messages("summary")
        self._checksum = importlib.import_module("tensorboardX.record_writer")
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / _next_name(folder)).open("xb")
        session = self._messages.SessionLog(status=self._messages.SessionLog.START)
        self._write(file_version="brain.Event:2")
        self._write(session_log=session, step=purge_step)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        self._summary(step, tag=tag, simple_value=value)

    def histogram(self, tag: str, values: npt.NDArray[np.float32], step: int) -> None:
        """Add the distribution of a tensor's finite values; nothing where there are none."""
        values = values.reshape(-1)
        if values.size > _MOST_VALUES:
            values = values[np.random.default_rng(0).integers(values.size, size=_MOST_VALUES)]
        values = values[np.isfinite(values)].astype(np.float64)
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        counts, edges = np.histogram(values, _BUCKETS, (low, high)) if low < high else ([values.size], [low, high])
        histogram = self._summaries.HistogramProto(
            min=low,
            max=high,
            num=values.size,
            sum=values.sum(),
            sum_squares=np.square(values).sum(),
            bucket_limit=edges[1:],
            bucket=counts,
        )
        self._summary(step, tag=tag, histo=histogram)

    def image(self, tag: str, image: Images, step: int) -> None:
        """Add a picture, uint8 (H, W, 1 or 3)."""
        height, width, channels = image.shape
        buffer = io.BytesIO()
        PILImage.fromarray(image[:, :, 0] if channels == 1 else image).save(buffer, "PNG")
        proto = self._summaries.Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=buffer.getvalue()
        )
        self._summary(step, tag=tag, image=proto)

    def graph(self, graph_def: bytes) -> None:
        """Add the network's graph."""
        self._write(graph_def=graph_def)

    def plugin(self, tag: str, name: str, content: bytes) -> None:
        """Add what only a plug-in of TensorBoard understands."""
        metadata = self._summaries.SummaryMetadata
        data = metadata.PluginData(plugin_name=name, content=content)
        self._summary(0, tag=tag, metadata=metadata(plugin_data=data))

    def flush(self) -> None:
        """Have the system write all to the disk, as it does with the run's metrics."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """End the file; twice is fine."""
        with contextlib.suppress(OSError):  # what could not be written was told when it was to be flushed
            self._file.close()

    def _summary(self, step: int, **value: Any) -> None:
        summary = self._summaries.Summary
        self._write(summary=summary(value=[summary.Value(**value)]), step=step)

    def _write(self, **event: Any) -> None:
        data = self._messages.Event(wall_time=time.time(), **event).SerializeToString()
        length = struct.pack("<Q", len(data))
        self._file.write(length + self._masked(length) + data + self._masked(data))

    def _masked(self, data: bytes) -> bytes:
        return struct.pack("<I", self._checksum.masked_crc32c(data))


def _next_name(folder: Path) -> str:
    """A name after all that are there: TensorBoard reads files in the order of their names, and clocks go back."""
    taken = [int(match[1]) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return f"events.out.tfevents.{max([int(time.time()), *(stamp + 1 for stamp in taken)]):010}.edgecnn"
