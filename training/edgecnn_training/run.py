"""A run: the directory that holds all there is to know about one training.

::

    RUN/
      recipe.toml        what the run uses, options of the command line included
      run.json           labels, input, normalisation, data, size of the network
      environment.json   versions, CPU, seed, git commit, command
      splits.csv         which picture is in which split
      rejected.csv       which pictures are not used, and why
      predictions.csv    what was said of each held-out picture
      layers.csv         what int8 does to each layer, where ``edgecnn export --layers`` was asked
      health.json        what is there twice in the data, and on which sides
      duplicates.csv  duplicates.png     pairs of such pictures, where there are any
      metrics.jsonl      a line per epoch
      teacher.keras      the network it learns from, where there is one
      weights.json       where the weights came from that it began with, and their hash, if they were not random
      checkpoints/       see `edgecnn_training.checkpoint`
      result.json        accuracy on the test split
      report.html        all of it on one page, see `edgecnn_training.report.page`
      curves.png  confusion.png
"""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgecnn.card import InputSpec, checked_labels, read_input
from edgecnn.errors import DataError, EdgecnnError, UsageError
from edgecnn.files import replacing
from edgecnn_training import disk, metrics
from edgecnn_training import recipe as recipes
from edgecnn_training.complexity import Complexity
from edgecnn_training.pictures import Normalization, read_normalization
from edgecnn_training.recipe import Recipe

SCHEMA = 1
MIN_SIDE, MAX_SIDE = 20, 224
OWN_FILES = frozenset(
    {"confusion.png", "curves.png", "duplicates.csv", "duplicates.png", "layers.csv"}
    | {"predictions.csv", "rejected.csv", "splits.csv"}
)
"""Tables and pictures of a run that no other command may replace."""
_REMEDY = "put the file back as it was, or train again into a new --run"
_PACKAGES = ("edgecnn", "keras", "tensorflow", "tensorflow-cpu", "jax", "torch", "numpy", "pillow")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a run is about; ``run.json`` and ``recipe.toml``.

    Attributes:
        labels: Names of the classes, in the order of the network's outputs.
        input: What the network takes.
        normalization: What is done to the pixels before the network.
        data_location: Where the data lay: an absolute path, or the name of a data set.
        data_hash: Identifies the data's content.
        split: ``"random"`` or ``"ordered"``; ``"given"`` where the data set brings its own.
        complexity: Parameters and MACs.
        recipe: How it is trained.
    """

    labels: tuple[str, ...]
    input: InputSpec
    normalization: Normalization
    data_location: str
    data_hash: str
    split: str
    complexity: Complexity
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory that exists."""

    path: Path
    info: RunInfo

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """A JSON line per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def splits(self) -> Path:
        """Content hash and split of each picture."""
        return self.path / "splits.csv"

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open an existing run.

        Raises:
            DataError: The directory is missing, not a run, or damaged.
        """
        if not (path / "run.json").is_file():
            train = f"pictures are trained on first, with `edgecnn train {shlex.quote(str(path))}`"
            what = f"has no run.json: {train}" if path.is_dir() else "does not exist: check the path"
            raise DataError(f"a run must be a directory that `edgecnn train` made; {str(path)!r} {what}")
        try:
            values = json.loads((path / "run.json").read_text(encoding="utf-8"))
            if type(values["schema"]) is not int or values["schema"] < 1:
                raise ValueError(f"schema must be a whole number above 0; received {str(values['schema'])[:40]!r}")
            if values["schema"] > SCHEMA:
                raise DataError(f"made by a newer edgecnn, schema {values['schema']}: upgrade edgecnn")
            info = RunInfo(
                labels=checked_labels(values["labels"]),
                input=read_input(values["input"]),
                normalization=read_normalization(values["normalization"], read_input(values["input"]).channels),
                data_location=_text(values["data"]["location"]),
                data_hash=_text(values["data"]["hash"]),
                split=_text(values["data"]["split"]),
                complexity=Complexity(_count(values["parameters"]), _count(values["macs"])),
                recipe=_recipe(path / "recipe.toml"),
            )
            if max(info.input.height, info.input.width) > MAX_SIDE or info.split not in ("given", "ordered", "random"):
                raise ValueError("a size or a split that no run has")
        except EdgecnnError as error:
            why = str(error).removeprefix("the model's card: ")
            raise DataError(f"{path} is damaged ({why}): {_REMEDY}") from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{path / 'run.json'} is damaged ({why}): {_REMEDY}") from error
        return cls(path, info)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training this run; the lock goes with the process, however it ends.

        Raises:
            UsageError: Another process is training it.
        """
        with (self.path / "run.json").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"a run must be trained by one process at a time; another one is training {self.path}: "
                    "wait for it, or stop it"
                ) from error
            except OSError:
                pass  # a file system without locks, as some of a network are
            yield

    def append_metrics(self, values: Mapping[str, object]) -> None:
        """Add an epoch's line, on the disk before this returns."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self.metrics, error) from error

    def read_metrics(self, up_to_step: int | None = None) -> list[dict[str, float]]:
        """The epochs' lines, those after a step left out.

        Raises:
            DataError: A line is not as a training writes it.
        """
        return metrics.read(self.metrics, up_to_step)

    def rewind_metrics(self, step: int) -> None:
        """Forget the epochs after `step`, which a resumed run trains again."""
        kept = self.read_metrics(step)
        write_text(self.metrics, "".join(json.dumps(values) + "\n" for values in kept))


def create(path: Path, info: RunInfo, environment: Mapping[str, object], fill: Callable[[Path], None]) -> Run:
    """Make a run's directory with its descriptions, under a temporary name first: it is complete, or not there.

    Args:
        path: The directory to make.
        info: What the run is about.
        environment: What it is made with.
        fill: Writes what else belongs there into the folder that it gets.

    Raises:
        UsageError: It exists already.
        DataError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        (temporary / "checkpoints").mkdir()
        write_text(temporary / "recipe.toml", info.recipe.to_toml())
        write_json(temporary / "run.json", to_json(info))
        write_json(temporary / "environment.json", environment)
        fill(temporary)
        temporary.rename(path)
    except (OSError, DataError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            raise exists(path) from error
        raise not_made(path, error.__cause__ or error) from error
    except BaseException:  # Ctrl-C too: either a whole run is there, or nothing
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Run(path, info)


def exists(path: Path) -> UsageError:
    """The error for a run directory that is there already."""
    return UsageError(f"--run must name a new directory; {path} exists: add --resume to continue it, or name another")


def not_made(path: Path, error: BaseException) -> DataError:
    """The error for a run that cannot begin; nothing of it is left to resume."""
    remedy = "free some space, or name another with --run" if disk.is_full(error) else "name another with --run"
    return DataError(f"a run must be written to its directory, {path}: {error}; {remedy}")


def unwritable(path: Path, error: OSError) -> DataError:
    """The error for a run that can no longer be written."""
    return DataError(f"a run must be written to {path}: {error}; free some space, then go on with --resume")


def write_json(path: Path, values: object) -> None:
    """Write JSON for people to read, under a temporary name first."""
    write_text(path, json.dumps(values, ensure_ascii=False, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, under a temporary name first."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise unwritable(path, error) from error


def environment(seed: int, data_hash: str) -> dict[str, object]:
    """What a run was made with: versions, CPU, seed, data, git commit, command line."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "versions": versions(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "seed": seed,
        "data_hash": data_hash,
        "git_commit": _git_commit(),
    }


def versions() -> dict[str, str]:
    """Python's version and those of the installed packages that decide a result."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _recipe(path: Path) -> Recipe:
    """The recipe of a run, which names every key: one that is empty would be taken for another recipe, the default."""
    if path.is_file() and not path.read_text(encoding="utf-8", errors="replace").strip():
        raise DataError(f"{path} is empty")
    return recipes.read(str(path))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"a text must stand where {str(value)[:40]!r} stands")
    return value


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"parameters and macs must be whole numbers; received {str(value)[:40]!r}")
    return value


def to_json(info: RunInfo) -> dict[str, object]:
    """What ``run.json`` holds."""
    return {
        "schema": SCHEMA,
        "labels": list(info.labels),
        "input": {name: getattr(info.input, name) for name in InputSpec.__slots__},
        "normalization": dataclasses.asdict(info.normalization),
        "data": {"location": info.data_location, "hash": info.data_hash, "split": info.split},
        "parameters": info.complexity.parameters,
        "macs": info.complexity.macs,
    }


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """Commit of the checkout that this code runs from; None where it is installed without one."""
    try:
        result = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
