"""SIGTERM and Ctrl-C outside of a training's epochs: exit code 130, and nothing half-written stays."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from edgecnn_training.decoding import decoded
from shapes import write_shapes

start_keras("to test")

from edgecnn_training import cache, checkpoint  # noqa: E402  # started above
from edgecnn_training.export import container  # noqa: E402
from edgecnn_training.report import page  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

pytestmark = pytest.mark.usefixtures("_heeds_ctrl_c")
QUICK = ("--arch", "softmax", "--epochs", "1", "--batch-size", "32", "--no-tensorboard")


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT])
def stop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> signal.Signals:
    """A signal that is sent to this process, with places of its own for caches and temporary files."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    return request.param  # type: ignore[no-any-return]


def leftovers(folder: Path) -> list[Path]:
    """What no command leaves behind: files under a temporary name. TensorFlow removes those of its own at its end."""
    found = [*folder.rglob(".*"), *folder.rglob("*partial*"), *(folder / "tmp").iterdir()]
    return [path for path in found if not path.name.startswith("__autograph_generated_file")]


def test_while_pictures_are_read(
    edgecnn: Edgecnn, stop: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_shapes(tmp_path / "data", each=20, seed=3)

    def stopped(*arguments: object, **options: object):  # type: ignore[no-untyped-def]
        for count, one in enumerate(decoded(*arguments, **options)):  # type: ignore[arg-type]
            yield one
            if count == 9:
                os.kill(os.getpid(), stop)

    monkeypatch.setattr(cache, "decoded", stopped)
    assert edgecnn("train", data, "--run", tmp_path / "run", *QUICK).code == 130
    assert not (tmp_path / "run").exists()
    assert leftovers(tmp_path) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_while_a_picture_of_the_report_is_drawn(
    edgecnn: Edgecnn, stop: signal.Signals, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Figure.savefig

    def stopped(figure: Figure, place: Path, **options: object) -> None:
        original(figure, place, **options)  # type: ignore[arg-type]
        os.kill(os.getpid(), stop)

    with monkeypatch.context() as patched:
        patched.setattr(Figure, "savefig", stopped)
        done = edgecnn("train", shapes, "--run", tmp_path / "run", *QUICK)
    assert done.code == 130
    assert f"interrupted; next:  edgecnn train --run {tmp_path / 'run'} --resume" in done.err
    assert leftovers(tmp_path) == []
    assert edgecnn("train", "--run", tmp_path / "run", "--resume", "--no-tensorboard").code == 0
    assert (tmp_path / "run" / page.NAME).exists()


def test_while_a_checkpoint_is_written(
    edgecnn: Edgecnn, stop: signal.Signals, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first signal is only noted in the epochs; the second one ends the process at once."""

    def stopped(_folder: Path) -> None:
        os.kill(os.getpid(), stop)
        os.kill(os.getpid(), stop)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "_to_disk", stopped)
        done = edgecnn("train", shapes, "--run", tmp_path / "run", *QUICK)
    assert done.code == 130
    assert leftovers(tmp_path) == []
    assert edgecnn("train", "--run", tmp_path / "run", "--resume", "--no-tensorboard").code == 0


def test_in_an_evaluation(
    edgecnn: Edgecnn, stop: signal.Signals, trained: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Figure.savefig

    def stopped(figure: Figure, place: Path, **options: object) -> None:
        original(figure, place, **options)  # type: ignore[arg-type]
        os.kill(os.getpid(), stop)

    monkeypatch.setattr(Figure, "savefig", stopped)
    assert edgecnn("evaluate", trained, shapes, "--confusion", tmp_path / "c.png").code == 130
    assert not (tmp_path / "c.png").exists()
    assert leftovers(tmp_path) == []


def test_during_an_export(
    edgecnn: Edgecnn, stop: signal.Signals, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = container.write

    def stopped(path: Path, *arguments: object):  # type: ignore[no-untyped-def]
        card = original(path, *arguments)  # type: ignore[arg-type]
        if path.parent == tmp_path:
            os.kill(os.getpid(), stop)
        return card

    monkeypatch.setattr(container, "write", stopped)
    assert edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--quantize", "none").code == 130
    assert not (tmp_path / "m.onnx").exists()
    assert leftovers(tmp_path) == []
