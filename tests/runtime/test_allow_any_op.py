"""``--allow-any-op``: a model with operators that edgecnn does not know is opened by who trusts it, and told of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx_bytes
import pytest
from command import Edgecnn

from edgecnn import Classifier
from edgecnn.errors import ModelError

TOLD = "the model has operators that edgecnn does not know, Hardmax: nothing limits their time and memory"


@pytest.fixture
def hard(tmp_path: Path) -> Path:
    """The colour network with Hardmax, which ONNX Runtime has, in the place of Softmax."""
    path = tmp_path / "hard.onnx"
    graph = onnx_bytes.linear_graph(onnx_bytes.COLORS, (8, 8, 3)).replace(b"Softmax", b"Hardmax")
    path.write_bytes(onnx_bytes.with_card(graph))
    return path


def test_the_classifier_refuses_or_warns(hard: Path) -> None:
    with pytest.raises(ModelError, match="received Hardmax"):
        Classifier(hard)
    with pytest.warns(UserWarning, match=TOLD), Classifier(hard, allow_any_op=True) as model:
        assert model.card.name == "colors"


def program(*arguments: object) -> subprocess.CompletedProcess[str]:
    """edgecnn in a process of its own, where warnings go where they go for a user."""
    command = [sys.executable, "-m", "edgecnn", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_predict_refuses_and_with_the_option_notes_it_on_standard_error(
    edgecnn: Edgecnn, hard: Path, photos: Path
) -> None:
    refused = edgecnn("predict", hard, photos)
    assert (refused.code, refused.out) == (4, "")
    assert "received Hardmax: export the model again with edgecnn, or add --allow-any-op" in refused.err
    allowed = program("predict", hard, photos, "--allow-any-op")
    assert allowed.returncode == 0
    assert [json.loads(line)["score"] for line in allowed.stdout.splitlines()] == [1.0, 1.0, 1.0]
    assert allowed.stderr.startswith(f"note: {TOLD}, and what they read and write\n")


def test_inspect_refuses_and_with_the_option_notes_it_on_standard_error(edgecnn: Edgecnn, hard: Path) -> None:
    refused = edgecnn("inspect", hard)
    assert (refused.code, refused.out) == (4, "")
    assert "add --allow-any-op" in refused.err
    allowed = program("inspect", hard, "--allow-any-op")
    assert (allowed.returncode, json.loads(allowed.stdout)["operators"]["Hardmax"]) == (0, 1)
    assert allowed.stderr == f"note: {TOLD}, and what they read and write\n"


def test_all_other_limits_hold(edgecnn: Edgecnn, tmp_path: Path) -> None:
    path = tmp_path / "outside.onnx"
    graph = onnx_bytes.linear_graph(onnx_bytes.COLORS, (8, 8, 3))
    outside = onnx_bytes.nested(5, onnx_bytes.number(2, 1) + onnx_bytes.nested(8, "w") + onnx_bytes.number(14, 1))
    path.write_bytes(onnx_bytes.with_card(graph + outside))
    for command in (("inspect", path), ("predict", path, tmp_path)):
        done = edgecnn(*command, "--allow-any-op")
        assert (done.code, done.out) == (4, "")
        assert "a model must be one file" in done.err
