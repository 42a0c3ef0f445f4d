"""From a calibrated TFLite model to 8 bits, with the first layers left in float32 where 8 bits lose too much.

What a network's first layers get wrong, all later ones carry on. In MobileNetV2 nearly all of the loss arises there:
ImageNet's normalisation, whose 8-bit steps are wider than one grey level of the image, and the first depthwise
convolution, whose kernels take differences of inputs twentyfold apart in size.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

FLOAT_STARTS = (0, 12)
"""How many of the first convolutions may stay in float32, tried in this order."""
CLOSE_ENOUGH = 0.01
"""Mean difference in probability from the float32 network at which no more of it is left in float32."""
_JUDGED_ON = 40
_FEW = 16
"""Up to this many numbers an operation costs nothing in float32."""


def quantised(
    calibrated: bytes,
    images: Sequence[np.ndarray],
    starts: Sequence[int] = FLOAT_STARTS,
    limit: float = CLOSE_ENOUGH,
) -> bytes:
    """Quantise a calibrated model.

    Args:
        calibrated: content of a float32 TFLite model that knows the range of every activation.
        images: float32, 1 x H x W x C each, 0..1: prepared training images to judge by, some 40 of them.
        starts: numbers of first convolutions to leave in float32, fewest first.
        limit: mean difference in probability that is close enough.

    Returns:
        Content of a TFLite model with float32 input and outputs: the first that is close enough, or the closest.
    """
    from tensorflow.lite.python.convert import mlir_quantize

    # From all over the list, which a table's order may have sorted by source or class.
    images = images[:: max(1, len(images) // _JUDGED_ON)]
    expected = _answers(calibrated, images)
    # Heat maps have no scale of their own to be close on.
    judged = [name for name, values in expected.items() if values.min() >= 0.0 and values.max() <= 1.0]
    tried: list[tuple[float, bytes]] = []
    graph, kinds = _parsed(calibrated)
    quotients = _quotients(graph, kinds)
    for start in starts:
        content = mlir_quantize(calibrated, denylisted_nodes=_first_operations(graph, kinds, start) | quotients)
        found = _answers(content, images)
        loss = max((float(np.abs(found[name] - expected[name]).mean()) for name in judged), default=0.0)
        log.info("8 bits with %d first convolutions in float32: mean difference %.4f", start, loss)
        tried.append((loss, content))
        if loss <= limit:
            return content
    return min(tried, key=lambda pair: pair[0])[1]


def _first_operations(graph: Any, kinds: Sequence[int], convolutions: int) -> set[str]:
    """Name every operation up to the last of so many first convolutions, by its output."""
    from tensorflow.lite.python.schema_py_generated import BuiltinOperator

    wanted = (BuiltinOperator.CONV_2D, BuiltinOperator.DEPTHWISE_CONV_2D)
    places = [place for place, kind in enumerate(kinds) if kind in wanted]
    end = places[min(convolutions, len(places)) - 1] + 1 if convolutions and places else 0
    return {_name(graph, op.outputs[0]) for op in graph.operators[:end]}


def _quotients(graph: Any, kinds: Sequence[int]) -> set[str]:
    """Name the divisions of a few numbers and what leads to them, by the outputs.

    COMiT-Net's normal and other share what COVID-19 leaves. Where both are next to nothing their sum rounds to 0 in 8
    bits, and LiteRT stops there with an error.
    """
    from tensorflow.lite.python.schema_py_generated import BuiltinOperator

    makers = {output: op for op in graph.operators for output in op.outputs}
    found: set[str] = set()
    ahead = [op for op, kind in zip(graph.operators, kinds, strict=True) if kind == BuiltinOperator.DIV]
    while ahead:
        op = ahead.pop()
        name = _name(graph, op.outputs[0])
        if name not in found and np.prod(graph.tensors[op.outputs[0]].shape) <= _FEW:
            found.add(name)
            ahead += [makers[place] for place in op.inputs if place in makers]
    return found


def _parsed(content: bytes) -> tuple[Any, list[int]]:
    """Return a model's graph and the kind of each of its operations."""
    from tensorflow.lite.tools.flatbuffer_utils import convert_bytearray_to_object

    model = convert_bytearray_to_object(bytearray(content))
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    return model.subgraphs[0], [codes[op.opcodeIndex] for op in model.subgraphs[0].operators]


def _name(graph: Any, tensor: int) -> str:
    return graph.tensors[tensor].name.decode()


def _answers(content: bytes, images: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return a model's outputs for every image, stacked, by name."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_content=content).get_signature_runner()
    answers = [run(image=image) for image in images]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
