"""From a calibrated TFLite model to 8 bits, with the first layers left in float32 where 8 bits lose too much.

What a network's first layers get wrong, all later ones carry on. In MobileNetV2 nearly all of the loss arises there:
ImageNet's normalisation, whose 8-bit steps are wider than one grey level of the image, and the first depthwise
convolution, whose kernels take differences of inputs twentyfold apart in size.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

log = logging.getLogger(__name__)

FLOAT_STARTS = (0, 12)
"""How many of the first convolutions may stay in float32, tried in this order."""
CLOSE_ENOUGH = 0.01
"""Mean difference in probability from the float32 network at which no more of it is left in float32."""
_JUDGED_ON = 40


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
    for start in starts:
        content = mlir_quantize(calibrated, denylisted_nodes=_first_operations(calibrated, start))
        found = _answers(content, images)
        loss = max((float(np.abs(found[name] - expected[name]).mean()) for name in judged), default=0.0)
        log.info("8 bits with %d first convolutions in float32: mean difference %.4f", start, loss)
        tried.append((loss, content))
        if loss <= limit:
            return content
    return min(tried, key=lambda pair: pair[0])[1]


def _first_operations(content: bytes, convolutions: int) -> set[str]:
    """Name every operation up to the last of so many first convolutions, by its output."""
    from tensorflow.lite.python.schema_py_generated import BuiltinOperator
    from tensorflow.lite.tools.flatbuffer_utils import convert_bytearray_to_object

    model = convert_bytearray_to_object(bytearray(content))
    graph, kinds = model.subgraphs[0], (BuiltinOperator.CONV_2D, BuiltinOperator.DEPTHWISE_CONV_2D)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    places = [place for place, op in enumerate(graph.operators) if codes[op.opcodeIndex] in kinds]
    end = places[min(convolutions, len(places)) - 1] + 1 if convolutions and places else 0
    return {graph.tensors[op.outputs[0]].name.decode() for op in graph.operators[:end]}


def _answers(content: bytes, images: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return a model's outputs for every image, stacked, by name."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_content=content).get_signature_runner()
    answers = [run(image=image) for image in images]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
