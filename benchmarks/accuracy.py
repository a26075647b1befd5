"""Train, export and measure on real images: the rows of the README's table.

    python benchmarks/accuracy.py ../shared/data --rows mnist-small mnist-micro -o accuracy.json

Each row is one `edgecnn train` and one `edgecnn export`, as anyone would type them; their own figures are printed.
Nothing is chosen here: recipes were chosen on validation splits, and the test split is read once, at a row's end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = {
    "glyphs": ("glyphs", "--recipe", "glyphs"),
    "mnist-small": ("mnist", "--recipe", "mnist", "--arch", "small"),
    "mnist-micro": ("mnist", "--recipe", "mnist-micro"),
    "mnist-pico": ("mnist", "--recipe", "mnist-pico"),
    "mnist-lecture-a": ("mnist", "--recipe", "lecture"),
    "mnist-mlp": ("mnist", "--recipe", "lecture", "--arch", "mlp"),
    "mnist-softmax": ("mnist", "--recipe", "lecture", "--arch", "softmax"),
    "cifar10-small": ("cifar10/cifar10-jpeg.tar.xz", "--recipe", "cifar10"),
    "notmnist-small": ("notmnist/notMNIST_small.tar.gz", "--arch", "small"),
    "sign-digits-ordered": ("sign-digits/sign-digits.tar", "--arch", "small", "--split", "ordered"),
    "sign-digits-random": ("sign-digits/sign-digits.tar", "--arch", "small", "--split", "random"),
}


def edgecnn(*arguments: str) -> tuple[dict[str, object], float]:
    """Run a command; give back its JSON result and the seconds it took."""
    began = time.monotonic()
    command = [sys.executable, "-m", "edgecnn", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]), time.monotonic() - began


def located(location: str, data: Path) -> str:
    """A data set's place below `data`, or its name where it comes with edgecnn."""
    return location if location == "glyphs" else str(data / location)


def measure(row: str, data: Path, folder: Path, extra: list[str]) -> dict[str, object]:
    """Train and export one row."""
    location, *options = ROWS[row]
    run, model = folder / row, folder / f"{row}.onnx"
    trained, train_s = edgecnn("train", located(location, data), "--run", str(run), *options, *extra)
    exported, export_s = edgecnn("export", str(run), "-o", str(model))
    return {
        "row": row,
        "command": " ".join(["edgecnn train", location, *options, *extra]),
        "split": trained["split"],
        "n": trained["n"],
        "keras_top1": trained["top1"],
        "float_top1": exported["float_top1"],
        "file_top1": exported["top1"],
        "interval": exported["interval"],
        "agreement": exported["agreement"],
        "precision": exported["precision"],
        "bytes": exported["bytes"],
        "train_s": round(train_s, 1),
        "export_s": round(export_s, 1),
    }


def main() -> None:
    """Measure the rows asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with mnist/, cifar10/, notmnist/, sign-digits/")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seed", default="0")
    parser.add_argument("-o", "--output", type=Path, help="write JSON here, a row as soon as it is measured")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for row in arguments.rows:
            result = measure(row, arguments.data, Path(folder), ["--seed", arguments.seed])
            results.append(result)
            low, high = result["interval"]
            print(
                f"{row:22} float {result['float_top1']:.4f}  {result['precision']} {result['file_top1']:.4f} "
                f"({low:.4f} to {high:.4f}, n {result['n']})  {result['bytes']:,} bytes  "
                f"train {result['train_s']:.0f} s  export {result['export_s']:.0f} s",
                flush=True,
            )
            if arguments.output:
                arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
