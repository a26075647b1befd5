"""What one connection carries to a device: an archive with its checksums, and the command that takes it in."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SUMS = "SHA256SUMS"
_SAFE = re.compile(r"[\w./+,=-]+", re.ASCII)

# For any login shell: one line, in single quotes, without a backslash or an exclamation mark. `head` takes the archive
# and not a byte more, since what follows on standard input is its end, which tells install.sh to go back.
_RECEIVE = """\
echo reached=yes
umask 077
d=$(mktemp -d "${TMPDIR:-/var/tmp}/edgecnn.XXXXXX") || exit 3
clean() { rm -rf "$d"; }
trap clean EXIT
trap "exit 129" HUP
trap "exit 143" TERM
if [ "$(id -u)" = 0 ]; then set --
elif sudo -n true </dev/null 2>/dev/null; then set -- sudo -n
else echo refused=sudo; echo user=$(id -un); exit 3
fi
head -c SIZE | tar -xf - -C "$d" || exit 3
cd "$d" && sha256sum --quiet --check SUMS || { echo refused=broken; exit 3; }
"$@" bash ./install.sh ARGUMENTS
"""


@dataclass(frozen=True, slots=True)
class Parcel:
    """An archive, and what is run on the device to take it in.

    Attributes:
        path: The archive.
        command: For the device's login shell; what it reads first from its standard input is the archive.
    """

    path: Path
    command: str

    @classmethod
    def pack(cls, path: Path, files: Mapping[str, Path | bytes], arguments: Sequence[str]) -> Parcel:
        """Write the archive.

        Args:
            path: Where to.
            files: Name in the archive → a file, or what it is to hold; ``install.sh`` must be among them.
            arguments: For install.sh. They are seen in a device's list of processes: no secrets.
        """
        sums = ""
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for name, content in files.items():
                data = content if isinstance(content, bytes) else content.read_bytes()
                sums += f"{hashlib.sha256(data).hexdigest()}  {name}\n"
                _add(archive, name, data)
            _add(archive, _SUMS, sums.encode())  # last: an archive that is cut off lacks it
        assert all(_SAFE.fullmatch(word) for word in arguments), arguments
        script = _RECEIVE.replace("SIZE", str(path.stat().st_size)).replace("SUMS", _SUMS)
        script = script.replace("ARGUMENTS", " ".join(arguments))
        lines = "; ".join(script.splitlines()).replace("then; ", "then ").replace("else; ", "else ")
        return cls(path, f"exec sh -c '{lines}'")


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o600
    archive.addfile(entry, io.BytesIO(data))
