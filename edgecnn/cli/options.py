"""Options that several commands have in common."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

AllowAnyOp: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-any-op",
        help="Also take a model with operators that edgecnn does not know, such as loops; only if you trust it.",
    ),
]
