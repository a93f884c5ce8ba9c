"""The check of ONNX files before ONNX Runtime opens them, on the wire format of protocol buffers.

ONNX Runtime trusts a file. It opens other files that tensors name as the place of their data, runs
loops that may never end, and allocates the sizes that are declared. So a file may contain only what
`crnn export` writes.
"""

from __future__ import annotations

from collections.abc import Iterator

from crnn_cli.plain import short

# The fields of each message (onnx.proto) and their contents. "*" marks a field that may be there
# several times. "bytes" also stands for messages that have no effect. Other fields are refused.
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
        14: "bytes*",
    },
    "graph": {
        1: "node*",
        2: "bytes",
        5: "tensor*",
        10: "bytes",
        11: "bytes*",
        12: "bytes*",
        13: "bytes*",
        14: "bytes*",
        16: "bytes*",
    },
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
        13: "bytes",
        20: "number",
    },
    "tensor": {
        1: "number*",
        2: "number",
        4: "float*",
        5: "number*",
        6: "bytes*",
        7: "number*",
        8: "bytes",
        9: "bytes",
        10: "double*",
        11: "number*",
        12: "bytes",
        14: "number",
        16: "bytes*",
    },
}
# Fields that ONNX knows and that are refused by name, unless their value is 0.
_REFUSED = {
    "model": {20: "training steps", 25: "functions"},
    "graph": {15: "sparse tensors"},
    "attribute": {
        6: "a graph in a node",
        10: "lists of tensors",
        11: "graphs in a node",
        22: "sparse tensors",
        23: "sparse tensors",
    },
    "tensor": {
        13: "a tensor whose data is in another file",
        14: "a tensor whose data is in another file",
    },
}
_MODEL_GRAPH = 7
_NODE_OPERATOR = 4
_NODE_DOMAIN = 7
_TENSOR_DIMENSIONS = 1

# Wire types, which say how a field is encoded.
_VARINT = 0
_LENGTH_DELIMITED = 2
_WIRE_TYPES = {"number": _VARINT, "double": 1, "float": 5}  # all other contents have a length
_FIXED_SIZES = {1: 8, 5: 4}

# The operators that `crnn export` writes for any backbone and precision with any torch that it
# works with, and operators as plain as these. None of them contains a graph, draws random numbers,
# or reads anything except its inputs.
_OPERATOR_NAMES = """
    Abs Add And AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Constant
    ConstantOfShape Conv DequantizeLinear Div Equal Erf Exp Expand Flatten Floor GRU Gather
    GatherElements Gemm GlobalAveragePool Greater GreaterOrEqual HardSigmoid HardSwish Identity
    InstanceNormalization LSTM Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Min Mod Mul Neg
    Not Or Pad Pow QuantizeLinear Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum Relu Reshape Shape Sigmoid Sign Slice Softmax Split Sqrt Squeeze Sub Sum Tanh Tile
    Transpose Unsqueeze Where
"""
_OPERATORS = frozenset(_OPERATOR_NAMES.split())


def check(data: bytes) -> None:
    """Refuse an ONNX model that contains anything except a plain network.

    Raises:
        ValueError: It contains something else, which the error names, or it is not a whole message.
    """
    # A file in ONNX Runtime's own format may be a valid message at the same time.
    if data[4:8] == b"ORTM":
        raise ValueError("it is in the format of ONNX Runtime")
    _check_message("model", memoryview(data))


def _check_message(kind: str, message: memoryview) -> None:
    """Check a message and the messages in it.

    Raises:
        ValueError: See `check`.
    """
    refused = _REFUSED.get(kind, {})
    operator = ""
    domain = ""
    elements = 1
    seen: set[int] = set()
    for number, wire_type, value in _fields(message):
        if number in refused and value != 0:
            raise ValueError(f"it has {refused[number]}")
        content = _check_field(kind, number, wire_type, seen)
        seen.add(number)
        if isinstance(value, int):
            if kind == "tensor" and number == _TENSOR_DIMENSIONS:
                elements = _multiply(elements, value, message)
        elif content in _FIELDS:
            _check_message(content, value)
        elif kind == "node" and number == _NODE_OPERATOR:
            operator = _decode_name(value)
        elif kind == "node" and number == _NODE_DOMAIN:
            domain = _decode_name(value)
        elif kind == "tensor" and number == _TENSOR_DIMENSIONS:
            for length in _packed_varints(value):
                elements = _multiply(elements, length, message)
    if kind == "model" and _MODEL_GRAPH not in seen:
        raise ValueError("it has no graph")
    if kind == "node" and (operator not in _OPERATORS or domain not in ("", "ai.onnx")):
        name = f"{domain}.{operator}" if domain else operator
        raise ValueError(f"it has the operator {short(name)}, which no model of crnn needs")


def _check_field(kind: str, number: int, wire_type: int, seen: set[int]) -> str:
    """Check the number and the wire type of a field, and return the name of its content.

    Parsers skip fields of another wire type, and merge repeated ones or take the last, so that they
    would run something other than what is checked here.

    Raises:
        ValueError: The field is unknown, of another wire type, or repeated.
    """
    declared = _FIELDS[kind].get(number, "")
    content = declared.rstrip("*")
    repeatable = declared.endswith("*")
    is_packed = repeatable and wire_type == _LENGTH_DELIMITED
    has_wire_type = wire_type == _WIRE_TYPES.get(content, _LENGTH_DELIMITED) or is_packed
    is_repeated = number in seen and not repeatable
    if not declared or not has_wire_type or is_repeated:
        raise ValueError(
            f"the field {number} of a {kind} is unknown, of another kind, or there twice"
        )
    return content


def _decode_name(value: memoryview) -> str:
    """Return the beginning of a name, which may be of any length and content."""
    return bytes(value[:100]).decode("utf-8", "replace")


def _multiply(elements: int, length: int, message: memoryview) -> int:
    """Return the number of elements of a tensor that has one more axis.

    Raises:
        ValueError: The tensor's message has too few bytes for them.
    """
    if length >= 2**31 or elements * length > 2 * len(message):  # some types have two in a byte
        raise ValueError(
            f"it declares {short(elements * length)} numbers where it has {len(message):,} bytes"
        )
    return elements * length


def _packed_varints(value: memoryview) -> Iterator[int]:
    """Yield the numbers of a packed field."""
    offset = 0
    while offset < len(value):
        number, offset = _read_varint(value, offset)
        yield number


def _fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield the fields of a message as (number, wire type, value).

    The value is an integer for a varint, and the encoded bytes for all other fields.

    Raises:
        ValueError: The message is damaged.
    """
    offset = 0
    while offset < len(message):
        key, offset = _read_varint(message, offset)
        if not 8 <= key < 2**32:  # parsers cut it to 32 bits
            raise ValueError("damaged or truncated")
        number = key >> 3
        wire_type = key & 7
        if wire_type == _VARINT:
            value, offset = _read_varint(message, offset)
            yield number, wire_type, value
            continue
        size = _FIXED_SIZES.get(wire_type)
        if wire_type == _LENGTH_DELIMITED:
            size, offset = _read_varint(message, offset)
        if size is None or size > len(message) - offset:
            raise ValueError("damaged or truncated")
        yield number, wire_type, message[offset : offset + size]
        offset += size


def _read_varint(message: memoryview, offset: int) -> tuple[int, int]:
    """Return the integer at `offset`, of seven bits a byte, lowest first, and its end.

    Raises:
        ValueError: It is cut short, or has more than 64 bits.
    """
    result = 0
    for shift in range(0, 70, 7):
        if offset >= len(message):
            break
        byte = message[offset]
        offset += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80 and result < 2**64:
            return result, offset
    raise ValueError("damaged or truncated")
