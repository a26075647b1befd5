"""One file is one plug-in: find, describe and load the files of a package, without a list to keep.

A file's name is the plug-in's name with ``_`` written ``-`` (``lecture_a.py`` is ``lecture-a``). Files that begin with
``_`` are private. Nothing is imported until `load` is called.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from edgecnn.errors import UsageError, did_you_mean


def folder(package: str) -> Path:
    """The directory of an installed package, found without importing the package itself."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.submodule_search_locations, f"{package} is not a package"
    return Path(next(iter(spec.submodule_search_locations)))


def names(package: str, suffix: str = ".py") -> list[str]:
    """Sorted names of the plug-ins in `package`; `suffix` is ``.toml`` for recipes."""
    files = (p for p in folder(package).iterdir() if p.suffix == suffix and not p.name.startswith("_"))
    return sorted(p.stem.replace("_", "-") for p in files)


def summary(package: str, name: str) -> str:
    """First line of a plug-in's docstring, read from its source without running it."""
    import ast  # here: it costs a prediction's start 2 ms

    source = (folder(package) / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def load(package: str, name: str) -> ModuleType:
    """Import a plug-in by its name, or by the path of a file where that holds ``/`` or ends in ``.py``.

    Raises:
        UsageError: No such plug-in; the message lists those there are.
    """
    if is_path(name):
        return _load_file(Path(name))
    if name not in names(package):
        raise unknown(package.rpartition(".")[2], name, names(package))
    return importlib.import_module(f"{package}.{name.replace('-', '_')}")


def is_path(name: str) -> bool:
    """Whether a plug-in is given as the path of a file: it ends in ``.py`` or has a ``/``."""
    return name.endswith(".py") or "/" in name


def unknown(kind: str, name: str, known: Sequence[str]) -> UsageError:
    """The error for a name that is none of `known`, with the likeliest one that was meant."""
    rule = f"{kind} must be one of {', '.join(known)} (or the path of a file)"
    return UsageError(f"{rule}; received {name!r}{did_you_mean(name, known)}")


def split_query(uri: str) -> tuple[str, dict[str, str]]:
    """What a plug-in opens, and its options: ``"jsonl:out.jsonl?top=5"`` → ``("jsonl:out.jsonl", {"top": "5"})``.

    Raises:
        UsageError: What follows the ``?`` is no list of options, or one is given twice.
    """
    from urllib.parse import parse_qsl  # here: lists of plug-ins have no use for it

    place, _, query = uri.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise UsageError(f"options after ? must be name=value, joined by &; received {query!r}") from error
    if len({name for name, _ in pairs}) < len(pairs):
        raise UsageError(f"an option must be given once; received {query!r}")
    return place, dict(pairs)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"a plug-in given by path must be an existing Python file; received {str(path)!r}")
    spec = importlib.util.spec_from_file_location(f"edgecnn_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"a plug-in given by path must end in .py; received {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's own code may do anything
        raise UsageError(f"a plug-in given by path must import; {path}: {type(error).__name__}: {error}") from error
    return module
