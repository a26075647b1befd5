"""Options from a TOML file, whose keys are the command's long flags: what an unattended run is to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import typer

from edgecnn.config_file import read_config_file
from edgecnn.errors import UsageError, did_you_mean, redacted

_MOST = 1e15  # no option has use for a larger number
_OWN = "config"
_RULES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
}
_TEXT: tuple[tuple[type, ...], str] = ((str,), "a text in quotation marks")


class _Kind(Protocol):
    name: str


class _Parameter(Protocol):
    """What is asked of an option or argument."""

    name: str | None
    opts: list[str]
    metavar: str | None
    nargs: int
    type: _Kind


def read_config(ctx: typer.Context, path: str | None) -> str | None:
    """Callback of ``--config``: what the file says holds where the command line says nothing.

    Args:
        ctx: Of the command, whose flags are the keys that are known; its arguments are ``model`` and ``source``.
        path: The file; nothing is done where none is named.

    Raises:
        SourceError: The file cannot be read.
        UsageError: It is no TOML, has an unknown key, or a value that the option cannot have.
    """
    if path is not None:
        parameters = cast("list[_Parameter]", ctx.command.params)
        known = {_key(one): one for one in parameters if one.name not in (_OWN, "help")}
        ctx.default_map = {
            str(_named(key, known, path).name): _checked(key, value, known[key], path)
            for key, value in _load(path).items()
        }
    return path


def check_config(path: str | os.PathLike[str], command: Callable[..., None]) -> None:
    """Refuse a configuration that ``--config`` of a command would refuse, and run nothing; `read_config` tells when.

    Values that an option's own limits forbid are refused as well.
    """
    app = typer.Typer(add_completion=False)
    app.command()(command)
    try:
        typer.main.get_command(app).make_context("edgecnn", ["--config", os.fspath(path), "model", "source"])
    except typer.BadParameter as error:
        raise UsageError(f"{os.fspath(path)}: {redacted(error.format_message())}") from error


def _key(parameter: _Parameter) -> str:
    """``stats-every`` of the option --stats-every, ``source`` of the argument SOURCE..."""
    longest = max(parameter.opts, key=len)
    if longest.startswith("--"):
        return longest[2:]
    return str(parameter.metavar or parameter.name).rstrip(".").lower()


def _load(path: str) -> dict[str, Any]:
    import tomllib  # here: a prediction without a configuration waits for no import of it

    text = read_config_file(path)
    try:
        return tomllib.loads(text)
    except ValueError as error:
        rule = 'in lines such as: source = ["pi"]'
        raise UsageError(f"--config must be TOML, {rule}; {path}: {error}") from error
    except RecursionError as error:
        raise UsageError(f"--config must not be nested so deeply; {path}: {error}: flatten it") from error


def _named(key: str, known: Mapping[str, _Parameter], path: str) -> _Parameter:
    if key in known:
        return known[key]
    hint = did_you_mean(key.replace("_", "-"), known) or ": correct or remove it"
    raise UsageError(f"{path}: keys must be among {', '.join(known)}; received {key!r}{hint}")


def _checked(key: str, value: object, parameter: _Parameter, path: str) -> object:
    """A value as the option takes it; one that can be repeated takes a list, or one text."""
    kind = parameter.type.name  # "int range" has limits, which are checked later
    types, rule = next((rules for name, rules in _RULES.items() if kind.startswith(name)), _TEXT)
    many = getattr(parameter, "multiple", False) or parameter.nargs == -1
    each = value if many and isinstance(value, list) else [value]
    if not all(isinstance(one, types) and (bool in types or not isinstance(one, bool)) for one in each):
        rule = f"{rule}, or a list of such" if many else rule
        raise UsageError(f"{path}: {key} must be {rule}; received {_shown(value)}: correct it")
    low, high, rule = _limits(parameter.type)
    if any(isinstance(one, int | float) and not low <= one <= high for one in each):
        raise UsageError(f"{path}: {key} must be {rule}; received {_shown(value)}: correct it")
    return each if many else value


def _limits(kind: _Kind) -> tuple[float, float, str]:
    """The least and the greatest number of an option, and both in words."""
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    if high is None:
        return (-_MOST, _MOST, "a smaller number") if low is None else (low, _MOST, f"{low:g} to {_MOST:g}")
    return -_MOST if low is None else low, high, f"{low or 0:g} to {high:g}"


def _shown(value: object) -> str:
    """A value for a message; not what is nested, in which passwords have no mark by which they could be hidden."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        return "a list of lists or tables"
    return redacted(repr(value))[:100]
