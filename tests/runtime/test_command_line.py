from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import onnx_bytes
import onnxruntime
import pytest
from command import Edgecnn
from PIL import Image as PILImage

from edgecnn.errors import how_to_install

COMMAND = [sys.executable, "-m", "edgecnn"]


def records(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_predicting_prints_json_lines_and_tells_what_runs_on_standard_error(
    edgecnn: Edgecnn, colors: Path, photos: Path
) -> None:
    end = edgecnn("predict", colors, photos)
    assert end.code == 0
    assert [record["label"] for record in records(end.out)] == ["green", "blue", "red"]
    assert re.match(r"colors, float32, 3 labels, on c\w+( \(.*\))?\n3 pictures in ", end.err)


def test_some_failures_are_records_lines_on_standard_error_and_exit_code_1(
    edgecnn: Edgecnn, colors: Path, photos: Path
) -> None:
    (photos / "notes.txt").write_text("no picture")
    end = edgecnn("predict", colors, photos)
    assert end.code == 1
    assert [record["type"] for record in records(end.out)] == ["prediction"] * 3 + ["error"]
    assert f"{photos}/notes.txt: not an image (JPEG, PNG, WebP, AVIF, BMP, TIFF, GIF, PPM); skipped\n" in end.err
    assert "; 1 could not be read" in end.err


def test_the_table_tells_a_failure_once(edgecnn: Edgecnn, colors: Path, photos: Path) -> None:
    (photos / "notes.txt").write_text("no picture")
    end = edgecnn("predict", colors, photos, "--format", "table")
    assert "error: not an image" in end.out
    assert "notes.txt" not in end.err


def test_top_batch_and_threads_are_heeded(edgecnn: Edgecnn, colors: Path, photos: Path) -> None:
    end = edgecnn("predict", colors, photos, "--top", 1, "--batch", 2, "--threads", 2, "--device", "cpu")
    assert [len(record["top"]) for record in records(end.out)] == [1, 1, 1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "first"),
    [(["-o", "out.csv"], "source,"), (["-o", "out.txt"], "photos/2"), (["-o", "out"], "{"), (["-o", "what?"], "{")],
)
def test_an_output_file_gets_the_results_in_the_format_of_its_ending(
    edgecnn: Edgecnn, colors: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], first: str
) -> None:
    monkeypatch.chdir(photos.parent)
    end = edgecnn("predict", colors, "photos", *arguments)
    assert (end.code, end.out) == (0, "")
    assert Path(arguments[1]).read_text(encoding="utf-8").startswith(first)


def test_to_replaces_the_first_sink_unless_that_is_asked_for(edgecnn: Edgecnn, colors: Path, photos: Path) -> None:
    out = photos.parent / "out.jsonl"
    assert edgecnn("predict", colors, photos, "--to", f"jsonl:{out}").out == ""
    assert len(records(out.read_text())) == 3
    both = edgecnn("predict", colors, photos, "--to", f"jsonl:{out}", "--format", "csv")
    assert both.out.startswith("source,")
    assert len(records(out.read_text())) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "MODEL", "nothing.jpg"], 3, "error: no file or folder 'nothing.jpg'; name a picture"),
        (["predict", "MODEL", "PHOTOS", "nothing.jpg"], 3, "error: no file or folder 'nothing.jpg'"),
        (["predict", "sings", "PHOTOS"], 4, "error: sings: no such file; name the file that `edgecnn export` wrote"),
        (["predict", "sings", "PHOTOS"], 4, "; did you mean 'signs'?"),
        (["predict", "PHOTOS/2.png", "PHOTOS"], 2, "a model must stand before what it looks at; received"),
        (["predict", "MODEL", "PHOTOS", "-o", "no/where"], 6, "error: results cannot be written to 'no/where'"),
        (["predict", "MODEL", "PHOTOS", "-o", "PHOTOS/2.png"], 6, "holds no text, so it is not overwritten"),
        (
            ["predict", "MODEL", "PHOTOS", "--format", "xml"],
            2,
            "--format must be one of auto, csv, jsonl, table; received 'xml'",
        ),
        (["predict", "MODEL", "PHOTOS", "--to", "jsonl"], 2, "received 'jsonl': type jsonl:- or jsonl:results.txt"),
        (["predict", "MODEL", "PHOTOS", "--to", "xml:-"], 2, "a sink must begin with one of csv, images, jsonl"),
        (["predict", "MODEL", "PHOTOS", "--device", "gpu"], 2, "device must be one of auto, cpu, cuda"),
        (["predict", "MODEL", "PHOTOS", "--top", "0"], 2, "--top"),
        (["predict", "MODEL", "-?x=1"], 2, "No such option"),
        (["predict"], 2, "a model must be named; received none: edgecnn predict digits photo.png"),
        (["predict", ""], 2, "a model must be named"),
        (["predict", "MODEL"], 2, "a source must be named behind the model; received"),
        (["predict", "PHOTOS/2.png"], 2, "a model must stand before what it looks at; received"),
        (["predict", "pi?fps=5"], 2, "received 'pi?fps=5' first: edgecnn predict MODEL 'pi?fps=5'"),
        (["predict", "test:", "PHOTOS/2.png"], 2, "a model must stand before what it looks at; received 'test:' first"),
        (["predict", "MODEL", "PHOTOS", "--format", "tabel"], 2, "received 'tabel'; did you mean 'table'?"),
        (["predict", "MODEL", "test:?frame=2"], 2, "received 'frame'; did you mean 'frames'?"),
        (["no-such-command"], 2, "No such command"),
        (["inspect", "nothing.onnx"], 4, "error: nothing.onnx: no such file"),
        (["inspect", "PHOTOS"], 4, "photos: a model must be a file; this is none"),
        (["inspect", "/dev/zero"], 4, "/dev/zero: a model must be a file; this is none"),
        (["inspect", ""], 4, "a model must be named; received an empty text: a .onnx file, or one of digits,"),
        (["predict", "cat photo.jpg", "m.onnx"], 2, "first: edgecnn predict m.onnx 'cat photo.jpg'"),
        (["predict", "photo.png", "digits"], 2, "received 'photo.png' first: edgecnn predict digits photo.png"),
        (["inspect", "PHOTOS/2.png"], 4, "2.png: not an ONNX file"),
    ],
)
def test_every_error_has_its_exit_code_and_its_remedy(
    edgecnn: Edgecnn, colors: Path, photos: Path, arguments: list[str], code: int, message: str
) -> None:
    words = [word.replace("MODEL", str(colors)).replace("PHOTOS", str(photos)) for word in arguments]
    end = edgecnn(*words)
    assert (end.code, end.out) == (code, "")
    assert message in end.err
    assert "Traceback" not in end.err


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA")
def test_a_device_that_does_not_start_is_exit_code_5(edgecnn: Edgecnn, colors: Path, photos: Path) -> None:
    end = edgecnn("predict", colors, photos, "--device", "cuda")
    assert end.code == 5
    assert "error: device cuda did not start" in end.err
    assert "use --device cpu" in end.err


def test_without_onnx_runtime_predicting_says_what_to_type_and_inspecting_works(colors: Path, photos: Path) -> None:
    # None in sys.modules is what Python takes for "not installed"
    program = "import sys; sys.modules['onnxruntime'] = None; from edgecnn.cli import main; main()"
    for arguments, code in ((["predict", colors, photos], 2), (["inspect", colors], 0)):
        command = [sys.executable, "-c", program, *map(str, arguments)]
        end = subprocess.run(command, capture_output=True, text=True, check=False)
        assert end.returncode == code
        assert (how_to_install("cpu") in end.stderr) == (code == 2)


def test_a_model_of_someone_else_says_how_to_make_one_of_ours(edgecnn: Edgecnn, tmp_path: Path, photos: Path) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(onnx_bytes.model(onnx_bytes.linear_graph(onnx_bytes.COLORS, (8, 8, 3))))
    end = edgecnn("predict", path, photos)
    assert end.code == 4
    assert "it was not exported by edgecnn (it has no card); export it with `edgecnn export`" in end.err
    shown = edgecnn("inspect", path, terminal=True)
    assert shown.code == 0
    assert "none: not exported by edgecnn" in shown.out


def test_debug_shows_where_an_error_arose(edgecnn: Edgecnn, colors: Path) -> None:
    assert "Traceback" in edgecnn("--debug", "predict", colors, "nothing").err


@pytest.mark.parametrize("debug", [[], ["--debug"]], ids=["plain", "debug"])
def test_a_bug_is_told_shortly_with_how_to_report_it(colors: Path, photos: Path, debug: list[str]) -> None:
    broken = photos.parent / "broken"
    broken.mkdir()
    # a module of the standard library that fails stands for any bug of ours
    (broken / "csv.py").write_text("raise ZeroDivisionError('one by nought')")
    command = [*COMMAND, *debug, "predict", str(colors), str(photos)]
    environment = os.environ | {"PYTHONPATH": str(broken)}
    end = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert end.returncode == 70
    assert "error: a bug in edgecnn, sorry: ZeroDivisionError: one by nought" in end.stderr
    assert "report what it prints" in end.stderr
    assert ("Traceback" in end.stderr) == bool(debug)


def test_inspect_shows_card_tensors_and_operators(edgecnn: Edgecnn, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes.color_model(accuracy={"top1": 0.98, "n": 163}, parameters=78330, note="a\x1b[2J"))
    out = edgecnn("inspect", path, terminal=True).out
    rows = dict(line.split(None, 1) for line in out.splitlines())
    assert rows["labels"] == "3: red, green, blue"
    assert rows["pictures"] == "8×8 RGB, fit crop, filter bilinear"
    assert rows["graph"].endswith("matches the card")
    assert rows["accuracy"] == "top1 0.98, n 163"
    assert rows["parameters"] == "78,330"
    assert rows["note"] == "a\\x1b[2J"
    assert rows["input"] == "image: uint8 (N, 8, 8, 3)"
    assert rows["output"] == "scores: float32 (N, 3)"
    assert rows["operators"] == "6: Cast 1, Div 1, MatMul 1, ReduceMean 1, Reshape 1, Softmax 1"
    assert rows["format"] == "ONNX IR 8, opset ai.onnx 17, written by edgecnn tests"


def test_inspect_tells_what_is_measured_in_words_and_wraps_it(
    edgecnn: Edgecnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    path = tmp_path / "m.onnx"
    path.write_bytes(
        onnx_bytes.color_model(
            calibration={"temperature": 0.5, "ece_before": 0.068, "ece": 0.002, "n": 9000},
            unknown={"threshold": 0.75, "coverage": 0.952, "error": 0.0008, "n": 9000},
            macs=9_345_920,
            accuracy={"top1": 0.98, "n": 50, "interval": [0.895, 0.9965], "split": "test", "float_top1": 0.9812},
            any_size={"n": 512, "sizes": 40, "generated": 0, "levels": 0, "difference": 0.0, "margins": []},
            provenance={"recipe": {"description": "AdamW", "arch": "pico", "epochs": 8, "seed": 3, "flip": False}},
        )
    )
    lines = edgecnn("inspect", path, terminal=True).out.partition("name ")[2].splitlines()  # a path is not broken
    assert max(map(len, lines)) <= 60
    text = " ".join(" ".join(lines).split())
    assert "scores are off by 0.2 points on average, 6.8 before temperature 0.50; n 9,000" in text
    assert "below a score of 0.75, where 4.8 % of 9,000 pictures of known classes are; 0.08 % of the others are" in text
    assert "macs 9.3 million a picture" in text
    assert "top-1 98.00 % of 50 test pictures, 95 % interval 89.50 % to 99.65 %; 98.12 % before" in text
    assert "any_size 512 pictures of 40 sizes are brought to the same pixels as by edgecnn" in text
    assert "recipe AdamW; arch pico, 8 epochs, seed 3 (the rest: --json)" in text
    assert "flip" not in text


def test_inspect_as_json_holds_the_whole_card(edgecnn: Edgecnn, colors: Path) -> None:
    shown = json.loads(edgecnn("inspect", colors, "--json").out)
    assert shown["card"]["labels"] == ["red", "green", "blue"]
    assert shown["size_bytes"] == colors.stat().st_size
    assert shown["inputs"] == [{"name": "image", "dtype": "uint8", "shape": ["N", 8, 8, 3]}]


def test_inspect_tells_a_graph_that_was_changed(edgecnn: Edgecnn, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes.color_model(graph_sha256="0" * 64))
    assert "DIFFERS from the card" in edgecnn("inspect", path, terminal=True).out


def test_version_and_help(edgecnn: Edgecnn) -> None:
    assert edgecnn("--version").out == f"edgecnn {version('edgecnn')}\n"
    out = edgecnn("--help").out
    assert "predict" in out
    assert "inspect" in out


def test_standard_output_carries_results_only_even_at_the_level_of_descriptors(colors: Path, photos: Path) -> None:
    end = subprocess.run([*COMMAND, "predict", str(colors), str(photos)], capture_output=True, text=True, check=False)
    assert end.returncode == 0
    assert len(records(end.stdout)) == 3


def test_json_is_utf8_whatever_the_locale_says(colors: Path, tmp_path: Path) -> None:
    PILImage.new("RGB", (8, 8), "red").save(tmp_path / "straße.png")
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    command = [*COMMAND, "predict", str(colors), str(tmp_path / "straße.png")]
    end = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert records(end.stdout.decode("utf-8"))[0]["source"] == str(tmp_path / "straße.png")


@pytest.mark.parametrize("buffered", [True, False])
def test_a_closed_pipe_ends_quietly_with_141(colors: Path, photos: Path, buffered: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= {} if buffered else {"PYTHONUNBUFFERED": "1"}
    reading, writing = os.pipe()
    os.close(reading)
    for arguments in (["predict", colors, photos], ["inspect", colors], ["--help"]):
        end = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=environment,
        )
        assert end.returncode == 141, end.stderr
        assert "Traceback" not in end.stderr
        assert "Exception ignored" not in end.stderr
    os.close(writing)


def test_closed_standard_output_is_told(colors: Path, photos: Path) -> None:
    command = ["sh", "-c", '"$@" >&-', "sh", *COMMAND, "predict", str(colors), str(photos)]
    end = subprocess.run(command, capture_output=True, text=True, check=False)
    assert end.returncode == 6
    assert "standard output is closed; name a file with -o" in end.stderr


@pytest.mark.usefixtures("_heeds_ctrl_c")
def test_ctrl_c_ends_with_130_and_without_a_traceback(colors: Path) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*COMMAND, "predict", str(colors), "-"], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as run:
        assert run.stderr is not None
        assert "on cpu" in run.stderr.readline()  # now it waits for the picture
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=20)
    assert run.returncode == 130
    assert "Traceback" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [("predict", "COLORS", "PHOTOS"), ("inspect", "COLORS"), ("architectures",)])
def test_a_full_disk_behind_standard_output_is_exit_6(colors: Path, photos: Path, command: tuple[str, ...]) -> None:
    places = {"COLORS": str(colors), "PHOTOS": str(photos)}
    arguments = [places.get(word, word) for word in command]
    with open("/dev/full", "w") as full:
        end = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert end.returncode == 6, end.stderr
    assert "No space left on device" in end.stderr


def test_with_standard_error_closed_the_results_stay_clean(colors: Path, photos: Path) -> None:
    command = ["sh", "-c", '"$@" 2>&-', "sh", *COMMAND, "predict", str(colors), str(photos)]
    end = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert end.returncode == 0
    assert len(records(end.stdout)) == 3


def test_a_name_that_the_system_refuses_is_no_bug_of_ours(edgecnn: Edgecnn, photos: Path) -> None:
    done = edgecnn("predict", "n" * 300, photos)
    assert done.code == 3
    assert "File name too long" in done.err


@pytest.mark.parametrize("source", ["in.ppm", "./in.ppm"])
@pytest.mark.parametrize("target", [("-o", "in.ppm"), ("--to", "jsonl:in.ppm"), ("--to", "csv:i%6E.ppm?top=1")])
def test_an_input_is_not_overwritten_by_the_results(
    edgecnn: Edgecnn,
    colors: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    target: tuple[str, str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.ppm").write_text("P3\n1 1\n255\n255 0 0\n")  # a picture that is text
    done = edgecnn("predict", colors, source, *target)
    assert (done.code, done.out) == (2, "")
    assert "results must not overwrite an input; 'in.ppm' is read as" in done.err
    assert Path("in.ppm").read_text().startswith("P3")


@pytest.mark.parametrize("wished", ["list.txt", "here.toml", "ph/a.ppm", "in.ppm"])
def test_nor_is_what_lists_the_inputs_or_lies_among_them(
    edgecnn: Edgecnn, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wished: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ph").mkdir()
    for picture in ("in.ppm", "ph/a.ppm"):
        Path(picture).write_text("P3\n1 1\n255\n255 0 0\n")
    Path("list.txt").write_text("in.ppm\n")
    Path("here.toml").write_text(f'model = "{colors}"\nsource = ["@list.txt", "ph", "file:in.ppm?every=1"]\n')
    before = Path(wished).read_text()
    done = edgecnn("predict", "--config", "here.toml", "-o", wished)
    assert (done.code, done.out) in ((2, ""), (6, ""))
    assert "overwrit" in done.err
    assert Path(wished).read_text() == before


def test_names_that_are_no_unicode_do_not_break_what_goes_through_a_pipe(colors: Path, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/gr\xfcn.onnx"
    Path(os.fsdecode(path)).write_bytes(colors.read_bytes())
    for encoding in ("utf-8", "ascii"):
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        line = [*COMMAND, "inspect", path, "--json"]
        end = subprocess.run(line, env=environment, capture_output=True, check=False)
        assert end.returncode == 0, end.stderr
        assert json.loads(end.stdout)["file"].endswith("gr\udcfcn.onnx")
