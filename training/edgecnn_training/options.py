"""Options of the training commands: from what was typed to what is meant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgecnn.errors import UsageError
from edgecnn_training.recipe import parse_assignment


def refuse_empty(given: Mapping[str, str | None]) -> None:
    """Check what was typed for being empty, as a variable of a script is that was never set: it means nothing.

    Args:
        given: The text of each argument or option, by its name; None where it was left out.

    Raises:
        UsageError: One is empty.
    """
    for name, text in given.items():
        if text is not None and not text.strip():
            remedy = "leave it out, or give it a value" if name.startswith("-") else "name it"
            raise UsageError(f"{name} must not be empty; received {text!r}: {remedy}")


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``64`` or ``48x64`` → (height, width) in pixels; None stays None.

    Raises:
        UsageError: Anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", text.strip())
    if match is None:
        raise UsageError(
            f"--size must be a number of pixels such as 64, or HEIGHTxWIDTH such as 48x64; received {text!r}"
        )
    height = int(match[1])
    return height, int(match[2]) if match[2] else height


def recipe_changes(given: Mapping[str, object], assignments: Sequence[str]) -> dict[str, object]:
    """The recipe's keys that the command line sets, by an option of their own or by ``--set``.

    Raises:
        UsageError: A key is set twice, or an assignment has no ``=``.
    """
    changes = {key: value for key, value in given.items() if value is not None}
    for key, value in map(parse_assignment, assignments):
        if key in changes:
            raise UsageError(f"a key of the recipe must be set once; {key!r} is set twice: leave out one of the two")
        changes[key] = value
    return changes
