"""TensorBoard itself reads what a run has written, and Chromium shows it; skipped where they are not installed.

pip install tensorboard     (in an environment of its own; then put its bin/ behind the others in PATH)
apt-get install chromium
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def address(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a TensorBoard shows two runs."""
    program = shutil.which("tensorboard")
    if program is None:
        pytest.skip("needs tensorboard")
    runs = tmp_path_factory.mktemp("shown")
    for name in ("one", "two"):
        shutil.copytree(trained, runs / name)
    command = [program, "--logdir", str(runs), "--host", "127.0.0.1", "--port", "0"]
    with (runs / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 120
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", (runs / "log").read_text())):
                assert process.poll() is None, (runs / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            while len(json.loads(get(found[0], "data/runs"))) < 6 and time.monotonic() < deadline:
                time.sleep(0.2)
            yield found[0]
        finally:
            process.kill()


def get(address: str, path: str, **query: str) -> bytes:
    url = f"{address}/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
    with urllib.request.urlopen(url, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def test_tensorboard_reads_curves_pictures_histograms_and_the_graph(address: str, trained: Path) -> None:
    assert set(json.loads(get(address, "data/runs"))) == {
        f"{run}/tensorboard{part}" for run in ("one", "two") for part in ("", "/train", "/validation")
    }
    run = "one/tensorboard/train"
    points = json.loads(get(address, "data/plugin/scalars/scalars", run=run, tag="epoch/loss"))
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [(step, pytest.approx(value, rel=1e-6)) for _, step, value in points] == [
        (line["step"], line["train_loss"]) for line in lines
    ]
    tags = json.loads(get(address, "data/plugin/histograms/tags"))[run]
    assert {tag.partition("/")[0] for tag in tags} == {
        f"layer_{kind}" for kind in ("activations", "biases", "gradients", "weights")
    }
    pictures = json.loads(get(address, "data/plugin/images/images", run=run, tag="pictures/augmented", sample="0"))
    assert len(pictures) == 4
    assert get(address, f"data/plugin/images/individualImage?{pictures[0]['query']}").startswith(b"\x89PNG")
    graph = get(address, "data/plugin/graphs/graph", run=run).decode()
    assert 'name: "01_conv2d"' in graph
    assert 'input: "01_conv2d"' in graph


def test_tensorboard_compares_runs_by_their_recipes(address: str) -> None:
    asked = json.dumps({"experimentName": ""})
    experiment = json.loads(get(address, "data/plugin/hparams/experiment", request=asked))
    assert {"learning_rate", "batch_size", "optimizer", "flip"} <= {info["name"] for info in experiment["hparamInfos"]}
    metrics = [(info["name"].get("group", ""), info["name"]["tag"]) for info in experiment["metricInfos"]]
    assert metrics[0] == ("", "best/test_top1")
    assert ("validation", "epoch/top1") in metrics


def test_tensorboard_finds_the_projectors_files(address: str, trained: Path) -> None:
    run = "one/tensorboard"
    assert run in json.loads(get(address, "data/plugin/projector/runs"))
    (embedding,) = json.loads(get(address, "data/plugin/projector/info", run=run))["embeddings"]
    assert embedding["tensorName"] == "test pictures"
    assert embedding["tensorShape"][0] == 18
    tensors = get(address, "data/plugin/projector/tensor", run=run, name="test pictures")
    assert len(tensors) == 4 * embedding["tensorShape"][0] * embedding["tensorShape"][1]
    labels = get(address, "data/plugin/projector/metadata", run=run, name="test pictures").decode().splitlines()
    assert len(labels) == 1 + 18
    assert get(address, "data/plugin/projector/sprite_image", run=run, name="test pictures").startswith(b"\x89PNG")


def test_chromium_shows_the_curves_first(address: str, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium")
    shown = subprocess.run(
        [
            *(chromium, *FLAGS, f"--user-data-dir={tmp_path}", "--virtual-time-budget=60000", "--dump-dom"),
            f"{address}/#timeseries",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout
    names = re.findall(r"(?:best|epoch|layer_\w+|pictures)/\w+", shown)
    assert names[0] == "best/test_top1", names
