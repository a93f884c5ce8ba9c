"""ONNX files looked through before ONNX Runtime sees them, by the wire format of protocol buffers.

ONNX Runtime does what a file says: it opens the files in which tensors say their data is, runs loops that may never
end, and takes the memory of the sizes that are declared. So a file may have nothing but what `crnn export` writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from reprlib import repr as short

# Messages by the field that holds them (onnx.proto); other fields are numbers and texts, or of no consequence.
_INSIDE = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor"},
    "tensor": {},
}
_REFUSED = {
    "model": {20: "training steps", 25: "functions"},
    "graph": {15: "sparse tensors"},
    "attribute": {6: "a graph in a node", 10: "lists of tensors", 11: "graphs in a node", 22: "sparse tensors"}
    | {23: "sparse tensors"},
    "tensor": {13: "a tensor whose data is in another file", 14: "a tensor whose data is in another file"},
}
_OPERATOR, _DOMAIN = 4, 7  # fields of a node
_DIMENSIONS = 1  # field of a tensor

# What `crnn export` writes of any backbone and precision and with any torch that it works with, and operators as plain.
# None of them has a graph inside, draws random numbers, or reads anything but its inputs.
_NAMES = """
    Abs Add And AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Constant ConstantOfShape Conv
    DequantizeLinear Div Equal Erf Exp Expand Flatten Floor GRU Gather GatherElements Gemm GlobalAveragePool Greater
    GreaterOrEqual HardSigmoid HardSwish Identity InstanceNormalization LSTM Less LessOrEqual Log LogSoftmax MatMul Max
    MaxPool Min Mod Mul Neg Not Or Pad Pow QuantizeLinear Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum Relu Reshape Shape Sigmoid Sign Slice Softmax Split Sqrt Squeeze Sub Sum Tanh Tile Transpose Unsqueeze
    Where
"""
_OPERATORS = frozenset(_NAMES.split())


def check(data: bytes) -> None:
    """Refuse an ONNX model that has anything but a plain network in it.

    Raises:
        ValueError: it has, or is no whole message; what was found.
    """
    _check("model", memoryview(data))


def _check(kind: str, message: memoryview) -> None:
    inside, refused = _INSIDE[kind], _REFUSED.get(kind, {})
    operator, domain, elements = "", "", 1
    for number, value in _fields(message):
        if number in refused and value != 0:
            raise ValueError(f"it has {refused[number]}")
        if number in inside:
            if isinstance(value, int):
                raise ValueError("a number where a message was expected")
            _check(inside[number], value)
        elif kind == "node" and number in (_OPERATOR, _DOMAIN):
            text = "" if isinstance(value, int) else bytes(value[:100]).decode("utf-8", "replace")
            operator, domain = (text, domain) if number == _OPERATOR else (operator, text)
        elif kind == "tensor" and number == _DIMENSIONS:
            for length in [value] if isinstance(value, int) else _packed(value):
                elements *= length
                if elements > 2 * len(message):  # some types have two in a byte
                    raise ValueError(f"it declares {short(elements)} numbers where it has {len(message):,} bytes")
    if kind == "node" and (operator not in _OPERATORS or domain not in ("", "ai.onnx")):
        name = f"{domain}.{operator}" if domain else operator
        raise ValueError(f"it has the operator {short(name)}, which no model of crnn needs")


def _packed(value: memoryview) -> Iterator[int]:
    place = 0
    while place < len(value):
        number, place = _number(value, place)
        yield number


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: (number, value), of which a text, a message or a packed list stays as it stands."""
    place = 0
    while place < len(message):
        key, place = _number(message, place)
        wire = key & 7
        if wire == 0:
            value, place = _number(message, place)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            size, place = _number(message, place)
        if size is None or size > len(message) - place:
            raise ValueError("damaged or truncated")
        yield key >> 3, message[place : place + size]
        place += size


def _number(message: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the least first, and where it ends."""
    found = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, place
    raise ValueError("damaged or truncated")
