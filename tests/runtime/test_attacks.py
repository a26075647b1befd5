"""Hostile models, each made here as its inventor would: what ONNX Runtime loads without a word is refused before it.

`loads` shows of some, which do no harm until they compute, that nothing else is wrong with them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_bytes
import onnxruntime
import pytest
from onnx_bytes import INT64, attribute, nested, node, number, value_info, weight

from edgecnn import Classifier, prescan
from edgecnn.errors import ModelError

GRAPH = onnx_bytes.linear_graph(onnx_bytes.COLORS, (8, 8, 3))
AGAIN = "export it again with `edgecnn export`"


def loads(model: bytes) -> bool:
    """Whether ONNX Runtime takes it."""
    onnxruntime.set_default_logger_severity(4)
    return bool(onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs())


def refused(model: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        prescan.check(model)


def outside(location: str, *more: tuple[str, str]) -> bytes:
    """The colour network with its weights in another file."""
    entries = [("location", location), ("offset", "0"), ("length", "36"), *more]
    data = b"".join(nested(13, nested(1, key) + nested(2, text)) for key, text in entries)
    tensor = number(1, 3) * 2 + number(2, 1) + nested(8, "weights") + data + number(14, 1)
    return GRAPH.replace(weight("weights", onnx_bytes.COLORS), nested(5, tensor))


@pytest.mark.parametrize(
    "location",
    ["../weights.bin", "/etc/hostname", "weights.bin", "a/../../weights.bin", "*/_ORT_MEM_ADDR_/*", ""],
)
def test_weights_in_another_file_are_refused_by_path_and_by_bytes(tmp_path: Path, location: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes.with_card(outside(location)))
    (tmp_path / "weights.bin").write_bytes(onnx_bytes.COLORS.tobytes())
    with pytest.raises(
        ModelError, match=f"a model must be one file; the weights 'weights' lie in another one: {AGAIN}"
    ):
        Classifier(path)
    refused(path.read_bytes(), "a model must be one file")


def test_onnx_runtime_reads_weights_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.bin").write_bytes(onnx_bytes.COLORS.tobytes())
    monkeypatch.chdir(tmp_path)
    assert loads(onnx_bytes.model(outside("weights.bin")))


def test_weights_behind_links_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(onnx_bytes.COLORS.tobytes())
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "soft.bin").symlink_to(secret)
    os.link(secret, folder / "hard.bin")
    for name in ("soft.bin", "hard.bin"):
        path = folder / f"{name}.onnx"
        path.write_bytes(onnx_bytes.with_card(outside(name)))
        with pytest.raises(ModelError, match="a model must be one file"):
            Classifier(path)


def test_a_model_that_is_a_link_itself_is_fine(colors: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.onnx"
    link.symlink_to(colors)
    assert Classifier(link).card.name == "colors"


def test_entries_that_set_attributes_of_the_reader_are_refused() -> None:
    refused(onnx_bytes.model(outside("weights.bin", ("__class__", "x"))), "a model must be one file")


def test_a_declared_tensor_of_four_terabytes_is_refused() -> None:
    tensor = number(1, 2**40) + number(2, 1) + nested(8, "huge")
    refused(onnx_bytes.model(GRAPH + nested(5, tensor)), "weights must be whole; 'huge' should have 1,099,511,627,776")
    refused(onnx_bytes.model(GRAPH + nested(5, tensor + nested(9, bytes(64)))), "and has 64 bytes")
    overflowing = number(1, 2**33) + number(1, 2**31) + number(2, 1) + nested(8, "none")  # 2^64 numbers: 0 in 64 bits
    refused(onnx_bytes.model(GRAPH + nested(5, overflowing)), "weights must be whole; 'none'")


def test_eighty_megabytes_of_metadata_are_refused() -> None:
    refused(onnx_bytes.model(GRAPH, {"notes": "x" * 80_000_000}), "at most 1,048,576 bytes of metadata; it has 80,000,")


def endless(operator: str) -> bytes:
    """The colour network beside a loop that goes on while a constant is true."""
    inner = node("Identity", ["go in"], "go out") + node("Identity", ["kept in"], "kept out") + nested(2, "body")
    inner += (
        value_info(11, "round", INT64, ()) + value_info(11, "go in", 9, ()) + value_info(11, "kept in", 1, ("N", 3))
    )
    inner += value_info(12, "go out", 9, ()) + value_info(12, "kept out", 1, ("N", 3))
    body = nested(1, "") + nested(1, "true") + nested(1, "logits") + nested(2, "x") + nested(4, operator)
    body += nested(5, nested(1, "body") + nested(6, inner) + number(20, 5))
    return GRAPH + nested(1, body) + weight("true", np.array(True))


def test_an_endless_loop_is_refused_though_onnx_runtime_loads_it() -> None:
    assert loads(onnx_bytes.model(endless("Loop")))
    refused(onnx_bytes.model(endless("Loop")), "operators must be among .*; received Loop: export the model again")


def test_other_operators_without_an_end_or_with_a_state_are_refused() -> None:
    for operator in ("If", "Scan", "RandomUniform", "Multinomial", "SequenceEmpty", "Optional", "StringNormalizer"):
        refused(onnx_bytes.model(endless(operator)), f"received {operator}:")


@pytest.mark.parametrize(
    ("operator", "domain"),
    [
        ("EPContext", "com.microsoft"),
        ("Conv", "com.microsoft.nchwc"),
        ("ReduceMean", "evil"),
        ("Softmax", "ai.onnx.ml"),
        ("MatMulNBits", ""),
        ("Relu", "ai.onnx "),
    ],
)
def test_operators_of_other_domains_are_refused(operator: str, domain: str) -> None:
    body = nested(1, "logits") + nested(2, "x") + nested(4, operator) + nested(7, domain)
    refused(onnx_bytes.model(GRAPH + nested(1, body)), f"received {domain + '.' if domain else ''}{operator}:")


def test_a_function_that_hides_operators_is_refused() -> None:
    function = nested(1, "Mine") + nested(7, nested(4, "Loop")) + nested(10, "evil")
    refused(onnx_bytes.model(GRAPH) + nested(25, function), "a model must be one graph; it has local functions too")


def test_a_constant_that_asks_for_25_gigabytes_is_refused() -> None:
    asked = node("ConstantOfShape", ["shape"], "zeros") + weight("shape", np.array([6_250_000_000], np.int64))
    refused(onnx_bytes.model(GRAPH + asked), r"with the node 'zeros' \(ConstantOfShape\) it needs 6,250,000,")


def test_a_shape_that_depends_on_the_picture_is_refused_though_onnx_runtime_loads_it() -> None:
    asked = (
        node("Cast", ["image"], "numbers", attribute("to", INT64))
        + node("Reshape", ["numbers", "all"], "shape")
        + node("ConstantOfShape", ["shape"], "zeros")
        + weight("all", np.array([-1], np.int64))
    )
    model = onnx_bytes.model(GRAPH + asked)
    assert loads(model)
    refused(model, r"the node 'zeros' \(ConstantOfShape\) has sizes that depend on the picture")


def test_ten_million_tiny_fields_are_refused() -> None:
    refused(onnx_bytes.model(GRAPH + nested(1, nested(1, "") * 10_000_000)), "at most 250,000 fields, it has more")
    for many in (number(30, 0) * 300_000, nested(14, "") * 300_000):
        refused(onnx_bytes.model(GRAPH) + many, "at most 250,000 fields, it has more")
    for many in (nested(1, b"") * 300_000, nested(11, b"") * 300_000):
        refused(onnx_bytes.model(GRAPH + many), "at most 250,000 fields, it has more")


def test_tiny_fields_where_nobody_looks_are_refused_too() -> None:
    described = nested(13, nested(1, "") * 5_000_000)  # the shape of a tensor in between
    refused(onnx_bytes.model(GRAPH + described), "at most 8,388,608 bytes beside its weights; it has 10,000,")


def test_more_nodes_than_a_classifier_has_are_refused() -> None:
    chain = node("Identity", ["logits"], "x0")
    chain += b"".join(node("Identity", [f"x{place}"], f"x{place + 1}") for place in range(5_000))
    refused(onnx_bytes.model(GRAPH + chain), "at most 5,000 nodes; it has 5,001")


@pytest.mark.parametrize("keep", [0, 1, 10, 100, 0.5, 0.9, -1])
def test_a_truncated_model_is_refused(keep: float) -> None:
    data = onnx_bytes.model(GRAPH)
    cut = data[: int(keep * len(data)) if isinstance(keep, float) else keep]
    refused(cut, "not an ONNX file")


def test_other_files_of_onnx_runtime_are_refused() -> None:
    refused(b"\x18\0\0\0ORTM" + bytes(200), "not an ONNX file")  # .ort, a flatbuffer
    refused(b"ftrt" + bytes(200), "not an ONNX file")  # a TensorRT engine


def test_integers_that_are_divided_by_what_ends_the_program_are_refused() -> None:
    """By 0 in ONNX Runtime 1.24, and the least integer by -1 in 1.32 too: the processor's signal ends the process."""
    whole = node("Cast", ["image"], "whole", attribute("to", 6))
    by_picture = whole + node("Div", ["whole", "whole"], "x")
    refused(onnx_bytes.model(GRAPH + by_picture), r"\(Div\) must divide integers by a constant other than 0 and -1")
    for divisor in (0, -1):
        by_weight = whole + node("Div", ["whole", "by"], "x") + weight("by", np.array([5, divisor], np.int32))
        refused(onnx_bytes.model(GRAPH + by_weight), "must divide integers by a constant other than 0 and -1")
    fine = whole + node("Div", ["whole", "by"], "x") + weight("by", np.array([5, -2, 3], np.int32))
    prescan.check(onnx_bytes.model(GRAPH + fine))


def few_bits(
    inputs: int = 192,
    outputs: int = 8,
    scales: int = 0,
    rest: Sequence[str] = (),
    more: bytes = b"",
    **changed: int,
) -> bytes:
    """The colour network beside a dense layer of 4 bits, in which something may not fit."""
    sizes = {"K": 192, "N": 8, "bits": 4, "block_size": 32} | changed
    body = b"".join(nested(1, name) for name in ("wide", "few", "scales", *rest)) + nested(2, "x")
    body += nested(4, "MatMulNBits") + nested(7, "com.microsoft")
    body += b"".join(attribute(*item) for item in sizes.items())
    graph = GRAPH + node("Tile", ["channels", "times"], "wide") + weight("times", np.array([1, 64], np.int64))
    graph += nested(1, body) + weight("few", np.zeros((outputs, inputs // 32, 16), np.uint8)) + more
    return onnx_bytes.model(graph + weight("scales", np.ones(scales or outputs * inputs // 32, np.float32)))


def test_the_one_operator_of_onnx_runtimes_own_that_is_known_is_let_through() -> None:
    prescan.check(few_bits())
    prescan.check(few_bits(rest=["zeros"], more=weight("zeros", np.zeros(24, np.uint8))))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (few_bits(inputs=160), "must have inputs that fit K 192 and N 8"),  # would be read past its end
        (few_bits(outputs=4), "must have inputs that fit K 192 and N 8"),
        (few_bits(K=224), "must have inputs that fit K 224 and N 8"),
        (few_bits(N=1 << 40), "must have inputs that fit K 192 and N 1099511627776"),
        (few_bits(N=0), "must have blocks of 16 to 256 numbers of 2, 4 or 8 bits"),
        (few_bits(K=-192), "must have blocks of 16 to 256 numbers of 2, 4 or 8 bits"),
        (few_bits(scales=47), "must have a scale for each of 48 blocks"),
        (few_bits(bits=8), "must have inputs that fit K 192 and N 8"),
        (few_bits(bits=3), "it has 32 of 3"),
        (few_bits(block_size=48), "it has 48 of 4"),
        (few_bits(block_size=0), "it has 0 of 4"),
        (few_bits(block_size=512), "it has 512 of 4"),  # ONNX Runtime 1.24 gives out memory nobody has written to
        (few_bits(rest=["zeros"], more=weight("zeros", np.zeros(23, np.uint8))), "must have a zero point for each"),
        (few_bits(rest=["", "order"], more=weight("order", np.zeros(192, np.int32))), "no order of groups"),
    ],
)
def test_dense_layers_of_few_bits_that_do_not_fit_are_refused(model: bytes, message: str) -> None:
    refused(model, message)
