"""How long each layer takes, by ONNX Runtime's own profile of every node, for one picture on one thread.

ONNX Runtime fuses nodes and names what it makes of them after one node or one tensor between them. So `marked` gives
all that belongs to a layer names that begin alike, and whatever ONNX Runtime makes of it is found again.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecnn import session
from edgecnn.errors import needs
from edgecnn_training.pictures import Images

if TYPE_CHECKING:
    import onnx

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_FUSED = ("Add", "Clip", "LeakyRelu", "Relu")  # with the layer before them, where nothing else reads its output
_MARK = re.compile(r"layer(\d+):")
_NAMELESS = re.compile(r"[A-Za-z]+__\d+")
_ROUNDS, _CALLS, _WARM = 8, 15, 5  # of each file in turn, so that all share the machine's mood
_END = "_kernel_time"


def marked(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, in which the names of a layer's nodes and tensors begin with its number: ``layer0:``."""
    onnx_ = needs("onnx", "train", "to export")
    result: onnx.ModelProto = onnx_.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {tensor.name for tensor in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    fixed = {tensor.name for tensor in graph.output}
    names: dict[str, str] = {}
    found = [node for node in graph.node if is_layer(node, weights)]
    for number, node in enumerate(found):
        own: onnx.NodeProto | None = node
        while own is not None:
            own.name = f"layer{number}:{own.name}"
            (output,) = own.output
            if output not in fixed:
                names[output] = f"layer{number}:{output}"
            own = _fused(readers[output], output, weights) if output not in fixed else None
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in graph.value_info:
        value.name = names.get(value.name, value.name)
    return result


def is_layer(node: onnx.NodeProto, weights: set[str]) -> bool:
    """Whether a node computes with weights of its own."""
    return node.op_type in LAYERS and node.input[1] in weights


def plain(name: str) -> str:
    """A marked name for people: without its mark, and by its number where tf2onnx has lost the name, ``layer 3``."""
    mark, own = _MARK.match(name), _MARK.sub("", name)
    return f"layer {int(mark[1]) + 1}" if mark and _NAMELESS.fullmatch(own) else own


def microseconds(files: Mapping[str, Path], picture: Images) -> dict[str, dict[int, float]]:
    """Time of each layer in each file, with the activation and the quantisation behind it.

    Args:
        files: Marked graphs, by a name.
        picture: uint8 ``(1, H, W, C)``.

    Returns:
        By that name and the layer's number; the mean of the middle half of 120 calls, since ONNX Runtime counts whole
        microseconds. What ONNX Runtime gave another name is missing.
    """
    ort = session.load_onnxruntime()
    times: dict[str, list[dict[int, float]]] = {name: [] for name in files}
    opened = {}
    for name, path in files.items():
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(path.with_suffix(".profile"))
        opened[name] = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for _ in range(_ROUNDS):
        for running in opened.values():
            for _ in range(_CALLS):
                running.run(None, {"image": picture})
    for name, running in opened.items():
        profile = Path(running.end_profiling())
        times[name] = _calls(json.loads(profile.read_text(encoding="utf-8")))[_WARM:]
        profile.unlink()
    return {name: _middle(calls) for name, calls in times.items()}


def _calls(events: Sequence[Mapping[str, object]]) -> list[dict[int, float]]:
    """Microseconds of each layer in each call, from the events of a profile in the order of time."""
    calls: list[dict[int, float]] = []
    current: dict[int, float] = defaultdict(float)
    for event in sorted(events, key=lambda one: (int(str(one["ts"])), -int(str(one["dur"])))):
        name = str(event["name"])
        found = _MARK.search(name)  # a Gemm and its activation are called "fused layer2:…"
        if name == "model_run":
            current = defaultdict(float)
            calls.append(current)
        elif found and name.endswith(_END):
            current[int(found[1])] += float(str(event["dur"]))
    return calls


def _middle(calls: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The mean of the middle half of the calls, for each layer."""
    layers = sorted({number for call in calls for number in call})
    result = {}
    for number in layers:
        own = np.sort([call.get(number, 0.0) for call in calls])
        result[number] = float(own[len(own) // 4 : len(own) - len(own) // 4].mean())
    return result


def _fused(readers: Sequence[onnx.NodeProto], tensor: str, weights: set[str]) -> onnx.NodeProto | None:
    """The node that is computed together with the one that gives `tensor`, if there is one."""
    if len(readers) != 1 or readers[0].op_type not in _FUSED:
        return None
    others = [name for name in readers[0].input if name and name != tensor]
    return readers[0] if all(name in weights for name in others) else None
