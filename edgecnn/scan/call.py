"""What a rule about an operator is told of one node: its attributes, and what is known of its inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from edgecnn.scan.contents import MAX_RANK, Node, Shape, Tensor

Numbers: TypeAlias = npt.NDArray[np.generic]
"""The numbers of a small tensor, of any type."""

MUCH = 128
"""Work of one number where an operator takes 5 to 20 ns for it, in multiply-adds of 0.05 to 0.1 ns."""

MAX_STEP = 65_536
"""Largest stride, dilation, padding or kernel side: far above any network's, far below what overflows."""


class Unfit(Exception):  # noqa: N818  # never leaves edgecnn.scan
    """A node that no right graph has: attributes and inputs that contradict each other, or its operator's rules."""


@dataclass(slots=True)
class Call:
    """One node with its inputs.

    Attributes:
        node: The node.
        shapes: Of each input; None where an optional one is left out.
        numbers: Those of an input, or None where they depend on the picture or are many.
        fixed: Whether an input depends on weights alone, and thus neither on the picture nor on its size.
        floating: Whether the first input holds floating-point numbers.
        work: Multiply-adds and the like beyond reading the inputs and writing the outputs; set by the rule.
        scratch: Elements of memory beyond inputs and outputs; set by the rule.
    """

    node: Node
    shapes: Sequence[Shape | None]
    numbers: Callable[[int], Numbers | None]
    fixed: Sequence[bool]
    floating: bool
    work: int = 0
    scratch: int = 0

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.shapes) and self.shapes[index] is not None

    def shape(self, index: int, rank: int | None = None) -> Shape:
        """The shape of an input that must be there, and must have `rank` axes."""
        if not self.has(index):
            raise Unfit(f"lacks its input {index}")
        shape = cast(Shape, self.shapes[index])
        if rank is not None and len(shape) != rank:
            raise Unfit(f"must have an input {index} of {rank} axes, it has the shape {shape}")
        return shape

    def parameters(self, index: int, shape: Shape, *, optional: bool = True) -> None:
        """Check that an input such as a bias has the shape it must have, or is left out where it may be."""
        if (self.has(index) or not optional) and self.shape(index) != shape:
            raise Unfit(f"must have an input {index} of the shape {shape}; it has {self.shape(index)}")

    def known(self, index: int) -> Numbers:
        """The numbers of an input that must be the same for every picture of a size."""
        self.shape(index)
        found = self.numbers(index)
        if found is None:
            raise Unfit(f"has sizes that depend on the picture, or more than a shape can have (input {index})")
        return found

    def whole(self, index: int) -> tuple[int, ...]:
        """`known` as integers of a list or a single one."""
        found = self.known(index)
        if found.ndim > 1 or found.dtype.kind not in "iu":
            raise Unfit(f"must have integers as its input {index}")
        return tuple([int(number) for number in found.reshape(-1)])

    def integer(self, name: str, default: int | None = None) -> int:
        """An attribute that is an integer."""
        found = self.node.attributes.get(name, default)
        if type(found) is not int:
            raise Unfit(f"must have an integer {name}")
        return found

    def integers(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """An attribute that is a list of integers."""
        found = self.node.attributes.get(name) if name in self.node.attributes else default
        if not isinstance(found, (tuple, list)) or not all(type(number) is int for number in found):
            raise Unfit(f"must have a list of integers {name}")
        return tuple(cast("Sequence[int]", found))

    def steps(self, name: str, count: int, at_least: int) -> tuple[int, ...]:
        """An attribute of `count` integers, such as strides; each `at_least` where there is none."""
        found = self.integers(name, (at_least,) * count)
        if len(found) != count or not all(at_least <= step <= MAX_STEP for step in found):
            raise Unfit(f"must have {count} {name} of {at_least} to {MAX_STEP:,}, it has {_short(found)}")
        return found

    def text(self, name: str, default: str, choices: Iterable[str]) -> str:
        """An attribute that is one of some words."""
        found = self.node.attributes.get(name, default)
        if not isinstance(found, str) or found not in choices:
            raise Unfit(f"must have a {name} of {', '.join(choices)}; it has {found!r}")
        return found

    def tensor(self, name: str) -> Tensor:
        """An attribute that is a tensor."""
        found = self.node.attributes.get(name)
        if not isinstance(found, Tensor):
            raise Unfit(f"must have a tensor {name}")
        return found

    def axes(self, name: str | None, index: int, rank: int) -> tuple[int, ...] | None:
        """Axes from an attribute (older operator sets) or an input (newer ones), None where there are neither."""
        if name is not None and name in self.node.attributes:
            given = self.integers(name)
        elif self.has(index):
            given = self.whole(index)
        else:
            return None
        if len(given) > MAX_RANK:
            raise Unfit(f"must name at most {MAX_RANK} axes, it has {len(given):,}")
        axes = tuple([axis_of(axis, rank) for axis in given])
        if len(set(axes)) != len(axes):
            raise Unfit(f"must not name an axis twice, it has {axes}")
        return axes


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front; negative ones count from the end."""
    if not -rank <= axis < rank:
        raise Unfit(f"must have an axis of {-rank} to {rank - 1}, it has {axis}")
    return axis % rank


def broadcast(*shapes: Shape) -> Shape:
    """The shape that all of these are stretched to, as NumPy does."""
    rank = max(map(len, shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for place, length in enumerate(shape, rank - len(shape)):
            if length != 1 and result[place] not in (1, length):
                raise Unfit(f"has inputs whose shapes do not go together: {', '.join(map(str, shapes))[:200]}")
            result[place] = length if length != 1 else result[place]
    return tuple(result)


def elements(shape: Shape) -> int:
    """How many numbers a tensor of this shape has."""
    return math.prod(shape)


def checked(shape: Iterable[int]) -> Shape:
    """A shape that a tensor can have."""
    found = tuple(shape)
    if len(found) > MAX_RANK or any(length < 0 for length in found):
        raise Unfit(f"must give shapes of at most {MAX_RANK} axes of 0 or more, it gives {_short(found)}")
    return found


def _short(numbers: Sequence[int]) -> str:
    return str(tuple(numbers[:8]))[:120]
