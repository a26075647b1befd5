"""What is settled for a run when it begins, and noted in each of its checkpoints.

``recipe.toml`` and ``run.json`` can be opened and edited, and their parts exchanged with those of another run. A
checkpoint vouches for them: labels in another order, say, would make every answer a wrong one, and nothing else would
tell. Where the data lies is not settled, since it may move. Checkpoints of earlier versions say less, and what they do
not say is not asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from edgecnn.errors import DataError
from edgecnn_training import run as runs
from edgecnn_training.checkpoint import Checkpoint, sha256
from edgecnn_training.run import Run

TEACHER = "teacher"
"""The key of the teacher's hashes; only a training that goes on needs the teacher, and compares them there."""
TEACHER_NOTE = "teacher.json"
"""Where a run that learns from a teacher keeps these, see `edgecnn_training.teacher`."""

_SPLITS = "splits"
_SHOWN = 3


def of(run: Run) -> dict[str, object]:
    """What is settled for a run beside its recipe, as JSON can hold it."""
    return _own(run) | {TEACHER: noted_teacher(run) if run.info.recipe.teacher else None}


def _own(run: Run) -> dict[str, object]:
    values = runs.to_json(run.info)
    data = values["data"]
    assert isinstance(data, dict), "to_json makes an object of it"
    found: dict[str, object] = {"labels": values["labels"], "data.hash": data["hash"], "data.split": data["split"]}
    for part in ("input", "normalization"):
        inside = values[part]
        assert isinstance(inside, dict), "to_json makes an object of it"
        found |= {f"{part}.{key}": value for key, value in inside.items()}
    found[_SPLITS] = sha256(run.splits) if run.splits.is_file() else None
    same: dict[str, object] = json.loads(json.dumps(found))  # tuples become lists
    return same


def refuse_another(run: Run, checkpoint: Checkpoint) -> None:
    """Compare a run's files with what one of its checkpoints says of them.

    Raises:
        DataError: They differ.
    """
    recipe = _changed(checkpoint.state.recipe, run.info.recipe.to_values())
    if recipe:
        raise DataError(
            f"a run must keep the recipe it began with; {run.path / 'recipe.toml'} now has {recipe}: "
            "put that back, or train a new run with --recipe"
        )
    was, now = checkpoint.state.settled, _own(run)
    if was is not None and was.get(_SPLITS, now[_SPLITS]) != now[_SPLITS]:
        raise DataError(
            f"a run must keep the split of each picture; {run.splits} is gone or no longer what it was when "
            f"{checkpoint.path} was written: put it back, or train again into a new --run"
        )
    others = _changed(was, now)
    if others:
        raise DataError(
            f"a run must stay what it was when {checkpoint.path} was written; {run.path / 'run.json'} now has "
            f"{others}: put that back, or train again into a new --run"
        )


def noted_teacher(run: Run) -> dict[str, object] | None:
    """The hashes of the teacher that a run keeps; None where it has noted none, as in earlier versions.

    Raises:
        DataError: The note is damaged.
    """
    path = run.path / TEACHER_NOTE
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or not isinstance(values.get("sha256"), str):
            raise ValueError("it must be an object with a sha256")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}): put it back, or train again into a new --run") from error
    return values


def _changed(was: Mapping[str, object] | None, now: Mapping[str, object]) -> str:
    """``epochs = 9 instead of 4, …``: what has another value now; empty where nothing has."""
    keys = [key for key in now if was is not None and key in was and now[key] != was[key]]
    told = [f"{key} = {_short(now[key])} instead of {_short((was or {})[key])}" for key in keys[:_SHOWN]]
    return ", ".join(told) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
