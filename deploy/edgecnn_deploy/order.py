"""What is to come onto the devices: checked here before anything is sent, and packed."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgecnn import bundled, plugins
from edgecnn.config_file import read_config_file
from edgecnn.errors import MissingExtraError, ModelError, SourceError, UsageError
from edgecnn_deploy import named, settings
from edgecnn_deploy.hosts import Host, hidden, parse_hosts
from edgecnn_deploy.parcel import Parcel
from edgecnn_deploy.wheels import choose_wheel

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)  # no dot: edgecnn@door.socket is no service
_WHEEL = re.compile(r"[\w.+!-]+\.whl", re.ASCII)
_EXTRAS = re.compile(r"[a-z]+(,[a-z]+)*", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What `edgecnn deploy` was asked for; its ``--help`` tells what each means.

    Attributes:
        model: The model; None where edgecnn is to be removed.
        hosts: The devices.
        removal: The options of install.sh that remove it; empty where it is to be installed.
    """

    model: Path | None
    hosts: Sequence[Host]
    name: str = "camera"
    sources: Sequence[str] = ()
    config: Path | None = None
    wheel: Path | None = None
    wheelhouse: Path | None = None
    extras: str = ""
    wait_s: int = 120
    removal: Sequence[str] = ()

    def pack(self, scratch: Path, archive: IO[bytes], tell: Callable[[str], None]) -> Parcel:
        """Check everything that can be checked here, and pack it.

        Args:
            scratch: A folder to make a wheel in.
            archive: What it is packed into.
            tell: Is told what is sent.

        Raises:
            UsageError: An option has no meaning.
            SourceError: A file is missing or unusable.
            ModelError: The model is refused.
        """
        files: dict[str, Path | bytes] = {"install.sh": plugins.folder("edgecnn_deploy") / "install.sh"}
        arguments = ["--until-eof", *self.removal]
        if self.model is not None:
            self._check_words()
            files |= {"model.onnx": checked_model(self.model, tell)} | self._settings()
            files |= {f"wheelhouse/{path.name}": path for path in self._wheels()}
            wheel, told = choose_wheel(self.wheel, self.wheelhouse, scratch)
            tell(f"edgecnn: {told}")
            files[wheel.name] = wheel
            arguments += [
                "--model",
                "model.onnx",
                "--wheel",
                wheel.name,
                "--name",
                self.name,
                "--wait",
                str(self.wait_s),
            ]
            arguments += ["--wheelhouse", "wheelhouse"] if self.wheelhouse else []
            arguments += ["--extras", self.extras] if self.extras else []
            arguments += [word for kind in ("source-file", "config") if kind in files for word in (f"--{kind}", kind)]
        return Parcel.pack(archive, files, arguments)

    def _check_words(self) -> None:
        if not _NAME.fullmatch(self.name):
            shown = hidden(self.name)
            valid = re.sub("[^A-Za-z0-9_-]+", "-", shown[:64]).lstrip("-_").rstrip("-") or "camera"
            rule = "must be letters, digits, _ and -, the first a letter or digit"
            raise UsageError(f"--name {rule}; received {shown!r}: {valid}")
        if self.extras and not _EXTRAS.fullmatch(self.extras):
            raise UsageError(f"--extras must be names joined by commas; received {self.extras!r}: cpu,video")

    def _settings(self) -> dict[str, Path | bytes]:
        """The configuration or the sources, in a file: a password must not come into a list of processes."""
        if self.config is not None and self.sources:
            raise UsageError("sources are named by --config or by --source; received both: leave one out")
        for one in self.sources:
            settings.check_source(one)
        named.check(self.sources, ())
        if self.config is None:
            return {"source-file": "".join(f"{one}\n" for one in self.sources).encode()} if self.sources else {}
        model = f"/opt/edgecnn/models/{self.name}.onnx"
        settings.check(self.config)
        text = read_config_file(str(self.config))
        settings.completed(text, model, str(self.config))
        return {"config": text.encode()}

    def _wheels(self) -> list[Path]:
        if self.wheelhouse is None:
            return []
        found = sorted(self.wheelhouse.glob("*.whl"))
        if not found:
            raise SourceError(
                f"--wheelhouse must be a folder of wheels; {str(self.wheelhouse)!r} holds none: name another"
            )
        for path in found:
            if not _WHEEL.fullmatch(path.name) or not path.is_file():
                rule = f"--wheelhouse must hold wheels by the names they were built with; {path.name!r} is none"
                raise SourceError(f"{rule}: take it out of {str(self.wheelhouse)!r}")
        return [path for path in found if not path.name.startswith("edgecnn-")]


def order_of(words: Sequence[str], *, removal: Sequence[str]) -> tuple[Path | None, list[Host]]:
    """The model and the devices among what was typed; no model where edgecnn is to be removed.

    Raises:
        UsageError: One has no meaning, or none is there.
    """
    if "--purge" in removal and "--uninstall" not in removal:
        raise UsageError("--purge goes with --uninstall; received it alone: add --uninstall")
    _refuse_swapped(words if not removal else ())
    model = None if removal else Path(words[0])
    hosts = words if removal else words[1:]
    misplaced = next((word for word in hosts if word.lower().endswith(".onnx")), None)
    if misplaced is not None:
        rule = (
            "only devices are named with --uninstall" if removal else "one model is deployed, named before the devices"
        )
        raise UsageError(f"{rule}; received {hidden(misplaced)!r}: leave it out")
    if not hosts and bundled.is_model(words[0]):
        raise UsageError(
            f"a device must be named behind the model; received {hidden(words[0])!r} only: add pi@raspberrypi"
        )
    if not hosts:
        rule = "a model and a device must be named, edgecnn deploy MODEL HOST"
        raise UsageError(
            f"{rule}; received {hidden(words[0])!r} only: name the .onnx file, or one of {', '.join(bundled.names())}"
        )
    return model, parse_hosts(hosts)


def _refuse_swapped(words: Sequence[str]) -> None:
    """Raise where a model stands behind devices, and none before them."""
    meant = next((word for word in words if bundled.is_model(word)), None)
    if meant is None or words[0] == meant or os.path.exists(words[0]):
        return
    others = [hidden(word) for word in words if word is not meant]
    rule = f"the model must stand before the devices; received {hidden(meant)!r} behind {others[0]!r}"
    raise UsageError(f"{rule}: edgecnn deploy {shlex.join([hidden(meant), *others])}")


def checked_model(model: Path, tell: Callable[[str], None]) -> Path:
    """The file of a model, a bundled one's name included, that can be read and computes here what its card says.

    Raises:
        ModelError: It is refused.
    """
    from edgecnn.classifier import Classifier

    try:
        file = bundled.find(model)
    except ModelError as error:  # a host may stand in its place
        raise ModelError(str(error).replace(str(model), hidden(str(model)))) from None
    try:
        with Classifier(file, device="cpu") as classifier:
            card = classifier.card
            tell(f"{model}: {card.name}, {card.precision}, {len(card.labels)} labels")
    except MissingExtraError:
        tell(f"note: {model} was not tried here, where there is no ONNX Runtime; each device tries it")
    return file
