"""Open a network with LiteRT, once it is certain that it is one of the kind that this project exports.

interpreter = opened(network, width, height, filters)      or a ValueError that says what is wrong

LiteRT verifies the file itself: every offset, index and size in it is within bounds. It trusts the graph that the file
describes: a missing graph, or an operator without its input, crashes it; a huge filter or tensor takes all time or
memory.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

OPERATORS = {
    "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CAST", "CONCATENATION", "CONV_2D", "DEQUANTIZE", "DIV", "EXP",
    "EXPAND_DIMS", "FULLY_CONNECTED", "GATHER", "LOG", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL",
    "PACK", "QUANTIZE", "REDUCE_PROD", "RESHAPE", "ROUND", "RSQRT", "SHAPE", "SQUARED_DIFFERENCE", "STRIDED_SLICE",
    "SUB", "SUM", "TRANSPOSE",
}  # fmt: skip  # of exported networks; none runs another graph, keeps a state or calls code of its own
WITHOUT_BIAS = "FULLY_CONNECTED"  # the operator whose third input may be missing
MISSING = -1  # LiteRT's index of an input that is not there
BYTES = 4  # of a value; none is wider
MAX_TABLES = 1000  # in one list
# Fields of the file's tables, as LiteRT's schema.fbs numbers them
MODEL_SUBGRAPHS, SUBGRAPH_OPERATORS = 2, 3
OPERATOR_INPUTS, OPERATOR_OUTPUTS, OPERATOR_OPTIONS_KIND, OPERATOR_OPTIONS = 1, 2, 3, 4
SIZES = {1: (1, 2, 4, 5), 5: (1, 2, 3, 4)}  # strides, dilations and filter sizes of Conv2DOptions and Pool2DOptions


def opened(network: bytes, width: int, height: int, filters: int) -> "Interpreter":
    """The network, ready to run.

    Args:
      network: the bytes of a .tflite file.
      width, height: of its images, pixels.
      filters: the most values that the network computes for a pixel.
    Raises:
      ValueError, RuntimeError: it is damaged, or has an operator or a tensor that no exported network has.
    """
    # Imported here because it takes 0.2 s, which programs that only open or draw images need not spend.
    from ai_edge_litert.interpreter import Interpreter

    sizes = _sizes(FlatBuffer(network))
    interpreter = Interpreter(model_content=network, num_threads=1)
    (pixels,) = interpreter.get_input_details()
    if pixels["shape"].tolist() != [1, height, width, 3]:
        raise ValueError("the size of its images is not the one described")
    _check_operators(interpreter, pixels["index"])
    for size in sizes:
        if not 0 < size <= max(width, height):
            raise ValueError(f"an operator has a stride or a filter of {size} pixels")
    most_bytes = max(len(network), BYTES * width * height * filters)
    for tensor in interpreter.get_tensor_details():
        shape = tensor["shape"].tolist()
        if BYTES * math.prod(max(length, 0) for length in shape) > most_bytes:
            raise ValueError(f"it has a tensor of shape {shape}")
    interpreter.allocate_tensors()
    return interpreter


def _check_operators(interpreter: "Interpreter", pixels: int) -> None:
    """Raise ValueError unless each operator is known, and has what the file stores or earlier operators computed."""
    known = {pixels}  # tensors that have values
    for operator in interpreter._get_ops_details():
        name, inputs, outputs = operator["op_name"], operator["inputs"].tolist(), operator["outputs"].tolist()
        if name not in OPERATORS:
            raise ValueError(f"it has the operator {name}")
        needed = inputs[:2] if name == WITHOUT_BIAS and inputs[2:] == [MISSING] else inputs
        known |= {index for index in needed if _is_stored(index, interpreter)}
        if not known.issuperset(needed) or not known.isdisjoint(outputs):
            raise ValueError(f"the inputs or outputs of an operator {name} are wrong")
        known |= set(outputs)


def _is_stored(index: int, interpreter: "Interpreter") -> bool:
    """Whether the file holds the tensor's values."""
    try:
        interpreter.tensor(index)()
    except ValueError:
        return False
    return True


class FlatBuffer:
    """A FlatBuffer's tables, addressed by their offsets in the file (https://flatbuffers.dev/internals).

    Each table starts with the distance to its vtable, the list of its fields' offsets.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content

    def number(self, place: int, size: int = 4) -> int:
        """An integer; 0 outside of the file, because nothing has verified the offsets yet."""
        return int.from_bytes(self.content[place : place + size], "little", signed=size == 4)

    def field(self, table: int, index: int) -> int:
        """The offset of a table's field; 0 if the table lacks it."""
        offsets, slot = table - self.number(table), 4 + 2 * index  # the offsets come after two sizes
        offset = self.number(offsets + slot, 2) if slot < self.number(offsets, 2) else 0
        return table + offset if offset else 0

    def tables(self, table: int, index: int) -> list[int]:
        """The offsets of the tables listed in a field. Raises ValueError if there are too many."""
        place = self.field(table, index)
        if not place:
            return []
        vector = place + self.number(place)
        count = self.number(vector)
        if not 0 <= count <= MAX_TABLES:
            raise ValueError(f"it has a list of {count} tables")
        return [entry + self.number(entry) for entry in range(vector + 4, vector + 4 + 4 * count, 4)]


def _sizes(file: FlatBuffer) -> list[int]:
    """The strides, dilations and filter sizes of all convolutions and poolings, pixels.

    Raises ValueError unless the file has one graph, whose operators have inputs and outputs.
    """
    graphs = file.tables(file.number(0), MODEL_SUBGRAPHS)
    if len(graphs) != 1:
        raise ValueError(f"it has {len(graphs)} graphs")
    sizes: list[int] = []
    for operator in file.tables(graphs[0], SUBGRAPH_OPERATORS):
        if not (file.field(operator, OPERATOR_INPUTS) and file.field(operator, OPERATOR_OUTPUTS)):
            raise ValueError("an operator has no inputs or no outputs")
        sizes += _operator_sizes(file, operator)
    return sizes


def _operator_sizes(file: FlatBuffer, operator: int) -> Iterator[int]:
    kind, place = file.field(operator, OPERATOR_OPTIONS_KIND), file.field(operator, OPERATOR_OPTIONS)
    if not kind or not place:
        return
    for index in SIZES.get(file.number(kind, 1), ()):
        size = file.field(place + file.number(place), index)
        yield file.number(size) if size else 1
