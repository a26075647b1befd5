"""Sources and sinks as a user names them: what has no meaning is told before anything is sent, and nothing is opened.

Which options a source or a sink has of its own, only it knows: that the service tells when it starts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence

from edgecnn import plugins, thinning
from edgecnn.errors import UsageError, close, redacted
from edgecnn.feeds import Policy
from edgecnn.opening import plugin_of, schemes_of
from edgecnn.view import View

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+-]*):")


def check(sources: Sequence[str], sinks: Sequence[str]) -> None:
    """Refuse what is of no kind that there is, or has an option whose value one cannot have.

    Args:
        sources: As `edgecnn predict` takes them.
        sinks: As its ``--to`` takes them.

    Raises:
        UsageError: One has no meaning.
    """
    for uri in sources:
        _told_of("source", uri, _check_source)
    for uri in sinks:
        _told_of("sink", uri, _check_sink)


def _told_of(kind: str, uri: str, look: Callable[[str], None]) -> None:
    try:
        look(uri)
    except UsageError as error:
        raise UsageError(f"the {kind} {redacted(uri)!r}: {redacted(str(error))}") from error


def _check_source(uri: str) -> None:
    options = plugin_of(uri)[2]
    schemes = schemes_of("edgecnn.sources")
    found = _SCHEME.match(uri)
    if found and found[1].lower() not in schemes and not os.path.lexists(uri):
        raise _unknown("source", found[1], schemes)
    View.of(options)
    Policy.of(options)


def _check_sink(uri: str) -> None:
    schemes = schemes_of("edgecnn.sinks")
    scheme, colon, _ = uri.partition(":")
    if not colon or scheme not in schemes:
        raise _unknown("sink", scheme, schemes)
    thinning.thinner(plugins.split_query(uri)[1])


def _unknown(kind: str, scheme: str, schemes: Iterable[str]) -> UsageError:
    words = sorted(word for word in schemes if word != "-")
    near = close(scheme.lower(), words)
    remedy = f"did you mean {near[0]}:?" if near else "correct it"
    path = " or be a path" if kind == "source" else ""
    rule = f"a {kind} must begin with one of {', '.join(words)} and a colon{path}"
    return UsageError(f"{rule}; received {redacted(scheme)!r}: {remedy}")
