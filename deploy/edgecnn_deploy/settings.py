"""The configuration of a service, ``/etc/edgecnn/NAME.toml``: how one is made, and what is refused.

`install.sh` runs this with the system's Python, out of the wheel and before anything is installed: it imports the
standard library only, but for `check`.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from edgecnn.errors import EdgecnnError, SourceError, UsageError

_HEAD = "# What this service does: the keys are the flags of `edgecnn predict`. After a change: sudo systemctl restart "
_TO = """\
# Into the journal, when the label changes, and at most once a second
to = ["jsonl:-?only=change&every=1"]
"""
_NEEDS = {"pi": r"pi([:?]|$)", "video": r"usb:|rtsps?:|/dev/video"}


def of_sources(sources: Sequence[str], model: str, name: str) -> str:
    """The text of a configuration.

    Args:
        sources: What the service looks at.
        model: Path of the model on the device.
        name: Of the service.
    """
    quoted = ", ".join(map(_quoted, sources))
    return f"{_HEAD}edgecnn@{name}\nmodel = {_quoted(model)}\nsource = [{quoted}]\n{_TO}"


def completed(text: str, model: str, where: str) -> str:
    """A configuration that names the model; a line is added where it does not.

    Args:
        text: TOML.
        model: Path of the model on the device.
        where: The file it is from, for messages.

    Raises:
        UsageError: It is no TOML, names another model, or no source.
    """
    settings = _settings(text, where)
    if not _sources(settings):
        rule = 'must name what it looks at, in a line such as: source = ["pi"]'
        raise UsageError(f"the configuration {rule}; {where} names nothing")
    if settings.setdefault("model", model) != model:
        raise UsageError(f"the model of {where} must be {model}; it names another: leave that line out")
    return text if "model" in _settings(text, where) else f"model = {_quoted(model)}\n{text}"


def needs(text: str) -> list[str]:
    """What the sources of a configuration need beside edgecnn: ``"pi"`` for rpicam-vid, ``"video"`` for that extra."""
    sources = _sources(_settings(text, "the configuration"))
    return [what for what, pattern in _NEEDS.items() if any(re.match(pattern, one) for one in sources)]


def check(path: Path) -> None:
    """Refuse a configuration that `edgecnn predict` would refuse; this takes edgecnn as it is installed.

    Raises:
        UsageError: It has an unknown key, or a value that the flag of this name cannot have.
    """
    from edgecnn.cli.config import check_config  # here: neither is there before edgecnn is installed
    from edgecnn.cli.predict import predict

    check_config(path, predict)


def same(text: str, other: str) -> bool:
    """Whether two configurations say the same, whatever their comments."""
    try:
        return tomllib.loads(text) == tomllib.loads(other)
    except ValueError:
        return False


def read(path: Path) -> str:
    """The text of a configuration.

    Raises:
        SourceError: It cannot be read, or is none.
    """
    try:
        return path.read_text(encoding="utf-8-sig")  # editors under Windows mark a file so
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SourceError(f"the configuration must be a text that can be read; {path}: {why}: check it") from error


def _settings(text: str, where: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f'the configuration must be TOML, lines such as: source = ["pi"]; {where}: {error}') from error


def _sources(settings: dict[str, object]) -> list[str]:
    listed = settings.get("source")
    listed = listed if isinstance(listed, list) else [listed]
    return [one for one in listed if isinstance(one, str) and one] if all(listed) else []


def _quoted(text: str) -> str:
    """A basic string of TOML: JSON's, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _make(kind: str, given: str, model: str, there: str, out: str) -> None:
    """Write the configuration for the service of a name, and print what it needs.

    Args:
        kind: ``"sources"`` where `given` has a source in each line, else it is a configuration.
        given: A file.
        model: Path of the model on the device.
        there: The configuration that may be there already; its text is kept where it says the same.
        out: The file to write.
    """
    text = read(Path(given))
    if kind == "sources":
        text = of_sources(text.splitlines(), model, Path(there).stem)
    text = completed(text, model, given if given == there else "--config")
    before = read(Path(there)) if Path(there).exists() else ""
    Path(out).write_text(before if same(before, text) else text, encoding="utf-8")
    print(*needs(text))  # noqa: T201


def make() -> None:
    """What install.sh calls; see `_make`."""
    try:
        _make(*sys.argv[1:])
    except (EdgecnnError, OSError, RecursionError) as error:
        nested = "the configuration must not be nested so deeply: flatten it"
        print(f"error: {nested if isinstance(error, RecursionError) else error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code if isinstance(error, EdgecnnError) else SourceError.exit_code)


def checked() -> None:
    """What install.sh calls once edgecnn is installed; see `check`."""
    try:
        check(Path(sys.argv[1]))
    except EdgecnnError as error:
        print(error)  # noqa: T201
        sys.exit(error.exit_code)


def others() -> None:
    """What install.sh calls: print what the configurations of a folder need, but for that of a name.

    One that cannot be read or is no TOML holds up nothing: its own service says so when it starts.
    """
    folder, name = sys.argv[1:]
    found: set[str] = set()
    for path in Path(folder).glob("*.toml"):
        if path.stem != name:
            with contextlib.suppress(EdgecnnError):
                found.update(needs(read(path)))
    print(*sorted(found))  # noqa: T201
