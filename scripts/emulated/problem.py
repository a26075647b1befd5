"""What ends ``scripts/pi`` before the guest runs."""

from __future__ import annotations


class Problem(Exception):  # noqa: N818 - it is a message for people
    """Rule and received value, then lines that say what to do."""

    def __init__(self, rule: str, *remedies: str) -> None:
        super().__init__("\n  ".join((rule, *remedies)))
