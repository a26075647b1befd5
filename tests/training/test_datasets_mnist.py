"""MNIST by name; without a network the way out is named."""

import os
import subprocess
import sys

from edgecnn_training.datasets import mnist

CODE = """
import sys
from edgecnn.errors import SourceError
from edgecnn_training.dataset import survey
try:
    survey("mnist")
except SourceError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def test_without_a_network_the_way_out_is_named_and_nothing_is_on_stdout(tmp_path):
    dead = "http://127.0.0.1:9"  # nobody listens on the discard port
    proxies = {
        name: dead for scheme in ("http", "https", "all") for name in (f"{scheme}_proxy", f"{scheme}_PROXY".upper())
    }
    environment = os.environ | proxies | {"KERAS_HOME": str(tmp_path), "no_proxy": "", "NO_PROXY": ""}
    ended = subprocess.run(
        [sys.executable, "-c", CODE],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 3, ended.stderr
    assert "MNIST could not be downloaded" in ended.stderr
    assert "put its four IDX files (train-images-idx3-ubyte.gz …) into a folder and pass that folder" in ended.stderr
    assert ended.stdout == ""


def test_a_folder_called_mnist_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mnist.accepts("mnist")
    (tmp_path / "mnist").mkdir()
    assert not mnist.accepts("mnist")
