"""Packages of a Debian release, fetched and unpacked into a folder without root and without a trace elsewhere.

apt runs with a state, a cache and sources of its own, so that any release and architecture can be had on any machine
with apt; what it knows of proxies is kept. Signatures are checked. Nothing of the packages is run: their maintainer
scripts would have to be.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from emulated.problem import Problem

DEFAULT_MIRROR = "http://deb.debian.org/debian"
KEYRINGS = [Path(f"/usr/share/keyrings/debian-archive-keyring.{ending}") for ending in ("pgp", "gpg")]
FOR_MERGED_USR = ("bin", "sbin", "lib")

SETTINGS = """
#clear Acquire::Languages;
#clear APT::Architectures;
Acquire::Languages "none";
Acquire::Retries "3";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "{user}";
Dir::Etc "{state}/etc";
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::State "{state}";
Dir::State::status "{state}/status";
Dir::Cache "{state}/cache";
"""


def unpack(release: str, architecture: str, packages: Sequence[str], folder: Path, mirror: str | None = None) -> None:
    """Fetches packages with all they depend on, and unpacks them.

    Args:
        release: ``bookworm`` or ``trixie``.
        architecture: Debian's name, such as ``arm64`` or ``amd64``.
        packages: Names; what they only recommend is left out.
        folder: Where they are unpacked to; made, with ``/bin``, ``/sbin`` and ``/lib`` as links into ``/usr``.
        mirror: Address of an archive; this machine's own where it has one.

    Raises:
        Problem: A program or key is missing, the archive does not answer, or does not have the packages.
    """
    folder.mkdir(parents=True)
    for name in FOR_MERGED_USR:
        (folder / "usr" / name).mkdir(parents=True)
        (folder / name).symlink_to(f"usr/{name}")
    state = folder.with_name(f"{folder.name}.apt")
    shutil.rmtree(state, ignore_errors=True)
    try:
        for archive in _download(release, architecture, packages, state, mirror or machine_mirror()):
            _extract(archive, folder)
    finally:
        shutil.rmtree(state, ignore_errors=True)


def machine_mirror() -> str:
    """The archive of Debian that this machine's own apt uses; Debian's own where it uses none, as on Ubuntu."""
    needs("apt-get")
    told = _run(["apt-get", "indextargets", "--format", "$(COMPONENT) $(REPO_URI)"], os.environ)
    for component, _, address in (line.partition(" ") for line in told.splitlines()):
        # others' archives for Debian have another component (Docker), or lie deeper (WineHQ)
        if component == "main" and re.fullmatch(r"https?://[^/]+/debian/?", address):
            return address.rstrip("/")
    return DEFAULT_MIRROR


def needs(program: str) -> None:
    """Ends with advice where a program is not on PATH."""
    if not shutil.which(program):
        raise Problem(
            f"{program} is needed; there is none on PATH",
            "An emulated Pi is put together on Debian or Ubuntu (or in a container of one).",
        )


def _download(release: str, architecture: str, packages: Sequence[str], state: Path, mirror: str) -> list[Path]:
    """Returns the ``.deb`` files, which lie below `state`."""
    needs("apt-get")
    needs("dpkg-deb")
    keyring = next((path for path in KEYRINGS if path.exists()), None)
    if keyring is None:
        raise Problem(
            f"the keys of Debian are needed to check what is downloaded; there is no {KEYRINGS[-1]}",
            "sudo apt install debian-archive-keyring",
        )
    for name in ("etc", "lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    (state / "etc/sources.list").write_text(f"deb [signed-by={keyring}] {mirror} {release} main\n")
    settings = SETTINGS.format(architecture=architecture, state=state, user="root" if os.geteuid() == 0 else "")
    (state / "apt.conf").write_text(_run(["apt-config", "dump", "Acquire"], os.environ) + settings)
    environment = os.environ | {"APT_CONFIG": str(state / "apt.conf"), "LC_ALL": "C"}
    _run(["apt-get", "-qq", "update"], environment, mirror)
    _run(["apt-get", "-qq", "-y", "install", "--download-only", *packages], environment, mirror)
    return sorted((state / "cache/archives").glob("*.deb"))


def _extract(archive: Path, folder: Path) -> None:
    # "dpkg-deb -x" would put folders in place of the links /bin, /lib and /sbin
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as packed:
        unpacking = ["tar", "--extract", "--preserve-permissions", "--keep-directory-symlink", f"--directory={folder}"]
        unpacked = subprocess.run(unpacking, stdin=packed.stdout, check=False).returncode
    if unpacked or packed.returncode:
        raise Problem(f"{archive.name} could not be unpacked into {folder}", "Is the disk full?")


def _run(command: list[str], environment: os._Environ[str] | dict[str, str], mirror: str = "") -> str:
    end = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    # "apt-get update" ends with 0 where the archive did not answer, and warns
    complaints = [line for line in end.stderr.splitlines() if line.startswith(("E:", "W: Failed"))]
    if end.returncode == 0 and not complaints:
        return end.stdout
    advice = [f"{mirror} was asked: is there a network? Name another with --mirror URL."] if mirror else []
    told = (complaints or end.stderr.splitlines() or [f"code {end.returncode}"])[:3]
    raise Problem(f"{' '.join(command[:3])} … failed: {'; '.join(told)}", *advice)
