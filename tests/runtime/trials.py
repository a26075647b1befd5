"""Opens models in a process of their own, which is started again where a model has ended it or hung it up."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import onnx_bytes
import onnx_networks
from mutations import mutated

BUSY_S = 10
"""Seconds of computing that a model may take."""

SILENT_S = 60
"""Seconds without an answer after which a process counts as hung; long, as other programs may keep the machine busy."""

PROGRAM = Path(__file__).with_name("trial_process.py")
FAULTS = ("crash", "hang", "memory", "exception")


@dataclass(frozen=True)
class Base:
    """A right model that others are made of: its graph (GraphProto) and its card."""

    graph: bytes
    card: str


@dataclass
class Report:
    """How the trials ended, and each fault with its seed."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str, str]] = field(default_factory=list)


class Trials:
    """A process that tries models, see `trial_process`; tests of this class put another program there."""

    def __init__(self, program: Path = PROGRAM, silent_s: float = SILENT_S) -> None:
        self._program, self._silent_s = program, silent_s
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, model: bytes) -> tuple[str, str]:
        """What became of a model, and a text about it; ``crash`` and ``hang`` are told from outside."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(len(model).to_bytes(4, "little") + model)
        process.stdin.flush()
        if not select.select([process.stdout], [], [], self._silent_s)[0]:
            self.close()
            return "hang", f"no answer within {self._silent_s} s"
        line = process.stdout.readline()
        if not line:
            process.communicate()
            code, self._process = process.returncode, None
            return "crash", signal.Signals(-code).name if code < 0 else f"exit code {code}"
        kind, text, seconds = json.loads(line)
        return ("hang", f"{seconds:.0f} s of computing; {text}") if seconds > BUSY_S else (kind, text)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(self._program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def small_networks() -> list[Base]:
    """The bases of the fuzzing in the tests."""
    graphs = [build() for build in onnx_networks.GRAPHS.values()]
    return [Base(graph, onnx_bytes.card_text(onnx_bytes.with_card(graph))) for graph in graphs]


def try_all(bases: list[Base], seeds: range) -> Iterator[Report]:
    """Mutate and try, the bases in turn; the same report after each trial, as it grows."""
    report = Report()
    with Trials() as trials:
        for seed in seeds:
            kind, text = trials.run(model_of(bases, seed))
            report.counts[kind] += 1
            if kind in FAULTS:
                report.faults.append((seed, kind, text))
            yield report


def model_of(bases: list[Base], seed: int) -> bytes:
    """The model that a seed stands for."""
    base = bases[seed % len(bases)]
    return mutated(base.graph, base.card, seed)
