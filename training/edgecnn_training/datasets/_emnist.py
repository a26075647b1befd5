"""What the classes of EMNIST are called; shared by `emnist` and `idx`.

Source: Cohen, Afshar, Tapson, van Schaik 2017, "EMNIST: an extension of MNIST to handwritten letters", and the files
``emnist-…-mapping.txt`` that come with the data.
"""

from __future__ import annotations

import string

from edgecnn.errors import DataError

_MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"
_CLASSES = {
    "balanced": dict(enumerate(_MERGED)),
    "byclass": dict(enumerate(string.digits + string.ascii_uppercase + string.ascii_lowercase)),
    "bymerge": dict(enumerate(_MERGED)),
    "digits": dict(enumerate(string.digits)),
    "letters": dict(enumerate(string.ascii_uppercase, 1)),
    "mnist": dict(enumerate(string.digits)),
}

VARIANTS = tuple(_CLASSES)


def classes(variant: str, mapping: bytes, name: str) -> dict[int, str]:
    """The character of each class.

    Args:
        variant: One of `VARIANTS`; another one needs a mapping, or its classes are called by their numbers.
        mapping: The text of a mapping file; empty where there is none.
        name: What messages call that file.

    Raises:
        DataError: The text is no mapping.
    """
    if not mapping.strip():
        return _CLASSES.get(variant, {})
    try:
        rows = [line.split() for line in mapping.decode("ascii").splitlines() if line.strip()]
        return {int(row[0]): chr(int(row[1])) for row in rows}
    except (ValueError, IndexError, OverflowError) as error:
        raise DataError(
            f"each line of {name} must be the number of a class and that of a character, such as 10 65; it has another "
            f"({error}): copy or download it again"
        ) from error
