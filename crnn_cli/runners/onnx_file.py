"""ONNX files looked through before ONNX Runtime sees them, by the wire format of protocol buffers.

ONNX Runtime does what a file says: it opens the files in which tensors say their data is, runs loops that may never
end, and takes the memory of the sizes that are declared. So a file may have nothing but what `crnn export` writes.
"""

from __future__ import annotations

from collections.abc import Iterator

from crnn_cli.plain import short

# The fields of each message (onnx.proto) and what they hold; "*" marks those that may be there several times, "bytes"
# also stands for messages that are of no consequence. Others are refused.
_FIELDS = {
    "model": {
        1: "number",
        2: "bytes",
        3: "bytes",
        4: "bytes",
        5: "number",
        6: "bytes",
        7: "graph",
        8: "bytes*",
    }
    | {14: "bytes*"},
    "graph": {
        1: "node*",
        2: "bytes",
        5: "tensor*",
        10: "bytes",
        11: "bytes*",
        12: "bytes*",
        13: "bytes*",
    }
    | {14: "bytes*", 16: "bytes*"},
    "node": {
        1: "bytes*",
        2: "bytes*",
        3: "bytes",
        4: "bytes",
        5: "attribute*",
        6: "bytes",
        7: "bytes",
        9: "bytes*",
    },
    "attribute": {
        1: "bytes",
        2: "float",
        3: "number",
        4: "bytes",
        5: "tensor",
        7: "float*",
        8: "number*",
        9: "bytes*",
    }
    | {13: "bytes", 20: "number"},
    "tensor": {
        1: "number*",
        2: "number",
        4: "float*",
        5: "number*",
        6: "bytes*",
        7: "number*",
        8: "bytes",
        9: "bytes",
    }
    | {10: "double*", 11: "number*", 12: "bytes", 14: "number", 16: "bytes*"},
}
_WIRES = {"number": 0, "double": 1, "float": 5}  # as they stand in the file; all else as bytes
_BYTES = 2
_REFUSED = {
    "model": {20: "training steps", 25: "functions"},
    "graph": {15: "sparse tensors"},
    "attribute": {
        6: "a graph in a node",
        10: "lists of tensors",
        11: "graphs in a node",
        22: "sparse tensors",
    }
    | {23: "sparse tensors"},
    "tensor": {
        13: "a tensor whose data is in another file",
        14: "a tensor whose data is in another file",
    },
}
_GRAPH = 7  # field of a model
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
    if (
        data[4:8] == b"ORTM"
    ):  # of ONNX Runtime's own format, which may be a message at the same time
        raise ValueError("it is in the format of ONNX Runtime")
    _check("model", memoryview(data))


def _check(kind: str, message: memoryview) -> None:
    refused = _REFUSED.get(kind, {})
    operator, domain, elements = "", "", 1
    seen = set()
    for number, wire, value in _fields(message):
        if number in refused and value != 0:
            raise ValueError(f"it has {refused[number]}")
        held = _FIELDS[kind].get(number, "")
        content, several = held.rstrip("*"), held.endswith("*")
        plain = _WIRES.get(content, _BYTES)
        # Parsers pass over fields of another kind, and take the last of two or join them: what runs is not seen.
        if (
            not held
            or (wire != plain and not (several and wire == _BYTES))
            or (number in seen and not several)
        ):
            raise ValueError(
                f"the field {number} of a {kind} is unknown, of another kind, or there twice"
            )
        seen.add(number)
        if isinstance(value, int):
            if kind == "tensor" and number == _DIMENSIONS:
                elements = _times(elements, value, message)
        elif content in _FIELDS:
            _check(content, value)
        elif kind == "node" and number == _OPERATOR:
            operator = _text(value)
        elif kind == "node" and number == _DOMAIN:
            domain = _text(value)
        elif kind == "tensor" and number == _DIMENSIONS:
            for length in _packed(value):
                elements = _times(elements, length, message)
    if kind == "model" and _GRAPH not in seen:
        raise ValueError("it has no graph")
    if kind == "node" and (operator not in _OPERATORS or domain not in ("", "ai.onnx")):
        name = f"{domain}.{operator}" if domain else operator
        raise ValueError(f"it has the operator {short(name)}, which no model of crnn needs")


def _text(value: memoryview) -> str:
    return bytes(value[:100]).decode("utf-8", "replace")


def _times(elements: int, length: int, message: memoryview) -> int:
    """The numbers of a tensor that is `length` times as large."""
    if length >= 2**31 or elements * length > 2 * len(message):  # some types have two in a byte
        raise ValueError(
            f"it declares {short(elements * length)} numbers where it has {len(message):,} bytes"
        )
    return elements * length


def _packed(value: memoryview) -> Iterator[int]:
    place = 0
    while place < len(value):
        number, place = _number(value, place)
        yield number


def _fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """The fields of a message: (number, wire, value), of which what is no number stays as it stands."""
    place = 0
    while place < len(message):
        key, place = _number(message, place)
        if not 8 <= key < 2**32:  # parsers cut it to 32 bits
            raise ValueError("damaged or truncated")
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _number(message, place)
            yield number, wire, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if wire == _BYTES:
            size, place = _number(message, place)
        if size is None or size > len(message) - place:
            raise ValueError("damaged or truncated")
        yield number, wire, message[place : place + size]
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
        if byte < 0x80 and found < 2**64:
            return found, place
    raise ValueError("damaged or truncated")
