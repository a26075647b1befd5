"""A run's recipe as TensorBoard's page HPARAMS takes it, beside the last points of its curves: runs can be compared.

There is no list of all hyperparameters here (an ``Experiment``): TensorBoard then makes its own from the runs that it
is shown, with those first that differ, and gives each text and switch a filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecnn_training.report.events import messages

PLUGIN = "hparams"


def flat(recipe: Mapping[str, object]) -> dict[str, str | float | bool]:
    """A recipe's keys without tables: ``{"options": {"dropout": 0.5}}`` → ``{"options.dropout": 0.5}``."""
    found: dict[str, str | float | bool] = {}
    for key, value in recipe.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{inner}": v for inner, v in flat(value).items()}
        elif isinstance(value, (str, int, float, bool)):
            found[key] = value
        elif value is not None:
            found[key] = str(value)
    return found


def session_start(recipe: Mapping[str, object]) -> dict[str, bytes]:
    """What stands at the beginning of a run: a summary by its tag. The recipe's description is left out."""
    start = messages("plugin_hparams").SessionStartInfo()
    for key, value in flat(recipe).items():
        if key != "description":
            field = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
            setattr(start.hparams[key], field, value)
    return {"_hparams_/session_start_info": _content(session_start_info=start)}


def session_end() -> dict[str, bytes]:
    """What stands at the end of a run that was trained to its end."""
    end = messages("plugin_hparams").SessionEndInfo(status="STATUS_SUCCESS")
    return {"_hparams_/session_end_info": _content(session_end_info=end)}


def _content(**part: Any) -> bytes:
    content: bytes = messages("plugin_hparams").HParamsPluginData(version=0, **part).SerializeToString()
    return content
