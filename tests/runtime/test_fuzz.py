"""Two thousand damaged and hostile models: each is refused or predicts; none ends the process, hangs or eats memory.

`scripts/fuzz` does the same with as many as one likes; a fault it finds is named by its seed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx_bytes
import onnx_networks
import pytest
from mutations import mutated
from trials import Trials, model_of, small_networks, try_all

from edgecnn import Classifier, prescan
from edgecnn.errors import ModelError

CHECKOUT = Path(__file__).resolve().parents[2]
COUNT = 2000


def test_two_thousand_mutations_are_refused_or_predict() -> None:
    for report in try_all(small_networks(), range(COUNT)):
        assert report.faults == []
    assert report.counts.total() == COUNT
    # not vacuous: many get past the pre-scan, and as many get as far as a prediction
    assert report.counts["ok"] > COUNT / 20
    assert report.counts["failed"] > COUNT / 40
    assert report.counts["refused"] > COUNT / 4


@pytest.mark.parametrize("name", onnx_networks.GRAPHS)
def test_the_networks_they_are_made_of_are_right(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes.with_card(onnx_networks.GRAPHS[name]()))
    prediction = Classifier(path).predict(onnx_networks.gradient())
    assert prediction.scores.sum() == pytest.approx(1, abs=1e-5)  # float32
    assert prediction.scores.max() < 0.9999


def test_a_seed_always_stands_for_the_same_model() -> None:
    bases = small_networks()
    models = [model_of(bases, seed) for seed in range(60)]
    assert models == [model_of(bases, seed) for seed in range(60)]
    assert len(set(models)) > 50  # some changes change nothing


def test_mutations_meet_every_kind_of_refusal() -> None:
    messages = []
    for seed in range(600):
        try:
            prescan.check(mutated(onnx_networks.free_batch(), "{}", seed))
        except ModelError as error:
            messages.append(str(error))
    text = "\n".join(messages)
    for words in (
        *("not an ONNX file", "there twice", "must be one file", "must be whole", "operators must be among"),
        *("must read what the graph gives", "numbers at a time", "depend on the picture", "do not go together"),
    ):
        assert words in text, words


FAULTY = {
    "crash": "import os, sys; sys.stdin.buffer.read(4); os.abort()",
    "hang": "import sys, time; sys.stdin.buffer.read(4); time.sleep(60)",
    "memory": 'print(\'["memory", "std::bad_alloc", 0.1]\', flush=True)',
    "exception": 'print(\'["exception", "ValueError: x", 0.1]\', flush=True)',
    "busy": 'print(\'["ok", "", 11.5]\', flush=True)',
}


@pytest.mark.parametrize("name", FAULTY)
def test_faults_are_told_and_the_next_model_gets_a_process_of_its_own(tmp_path: Path, name: str) -> None:
    program = tmp_path / "faulty.py"
    program.write_text(FAULTY[name])
    with Trials(program, silent_s=2 if name == "hang" else 60) as trials:
        kind, text = trials.run(b"model")
        assert kind == {"busy": "hang"}.get(name, name)
        assert text != "" or name == "exception"
        if name == "crash":
            assert text == "SIGABRT"
            assert trials.run(b"model") == ("crash", "SIGABRT")


def test_the_process_tells_what_became_of_a_model() -> None:
    with Trials() as trials:
        assert trials.run(onnx_bytes.color_model()) == ("ok", "")
        assert trials.run(b"no model")[0] == "refused"
        kind, text = trials.run(onnx_bytes.with_card(onnx_bytes.linear_graph(onnx_bytes.COLORS, (9, 9, 3))))
        assert (kind, "one input named 'image'" in text) == ("refused", True)


def test_the_script_counts_and_keeps_what_it_finds(tmp_path: Path) -> None:
    script = CHECKOUT / "scripts" / "fuzz"
    if not script.is_file():
        pytest.skip("needs scripts/fuzz of the checkout; only the tests are here")
    command = [sys.executable, str(script), "--count", "20", "--seed", "7"]
    end = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (end.returncode, end.stdout) == (0, "")
    assert end.stderr.startswith("20 models in ")
    assert list(tmp_path.iterdir()) == []
