"""Model files: one complete safetensors file each, which is read without executing anything in it.

The tensors are the model's state. The header's metadata holds, under the key `crnn`, JSON with the
format number, the `ModelConfig`, the training record and the decoder settings. A file that is
something else, damaged or of a later format is refused with an error that says so.

Nothing in a file is trusted. Every type and bound is checked, and the tensors are compared with the
network that the description needs before memory is allocated for either.
"""

from __future__ import annotations

import json
import math
import os
import stat
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crnn_cli import weights
from crnn_cli.config import NO_LANGUAGE, DecodeOptions, ModelConfig
from crnn_cli.errors import CrnnError, ModelError, UsageFault
from crnn_cli.files import write_atomic
from crnn_cli.plain import from_plain, short

if TYPE_CHECKING:
    import torch

    from crnn_cli.core.model import CRNN

FORMAT = 1
KEY = "crnn"
_MAX_HEADER_BYTES = 16_000_000  # a valid model's header has about 20,000
_DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
_MAX_AXES = 8  # of a tensor
_MAX_NESTING = 50  # of lists and objects in JSON, as code that shows them is recursive


@dataclass(frozen=True)
class Header:
    """The description of a model in its file.

    Attributes:
        config: The settings from which the model is built.
        record: The training record: settings, data, steps and validation figures. It informs
            people, and nothing depends on it.
        decode: The decoder settings, which users may override.
    """

    config: ModelConfig
    record: dict[str, Any] = field(default_factory=dict)
    decode: DecodeOptions = field(default_factory=DecodeOptions)

    def to_json(self) -> str:
        """Return the JSON text that model files and exported files contain."""
        values = {"format": FORMAT, "config": self.config.to_dict(), "record": self.record}
        if self.decode != DecodeOptions():
            values["decode"] = asdict(self.decode)
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str, where: str | os.PathLike[str]) -> Header:
        """Parse the text that `to_json` returns.

        Args:
            text: The text.
            where: The path of the file that contains it, for messages.

        Raises:
            ModelError: The text is not a header, or is of a later format.
        """
        try:
            return cls._from_values(_parse_json(text), where)
        except ModelError:
            raise
        except KeyError as fault:
            raise ModelError(
                f"{where}: its model description is damaged (it has no {fault})"
            ) from None
        except CrnnError as fault:
            raise ModelError(
                f"{where}: this version does not read such a model ({fault})"
            ) from None
        except (ValueError, TypeError) as fault:
            raise ModelError(f"{where}: its model description is damaged ({fault})") from None

    @classmethod
    def _from_values(cls, values: dict[str, Any], where: str | os.PathLike[str]) -> Header:
        """Make a header from a JSON object; `from_json` turns all errors into ModelErrors."""
        version = values["format"]
        if type(version) is not int or version != FORMAT:
            raise ModelError(
                f"{where}: model format {short(version)}, this version reads format {FORMAT}: "
                "update crnn-cli"
            )
        if not isinstance(values["record"], dict):
            raise ValueError(f"its record is {short(values['record'])}")
        decode = from_plain(DecodeOptions, values.get("decode", {}), "decoding settings")
        config = ModelConfig.from_dict(values["config"])
        _check_decoding(config, decode)
        return cls(config, values["record"], decode)


def _check_decoding(config: ModelConfig, decode: DecodeOptions) -> None:
    """Refuse an alphabet or decoder settings with which no text can be read.

    A language model must be a name and not a path, so that a model file from someone else cannot
    choose which file is opened here.

    Raises:
        UsageFault: The alphabet or a setting is unusable.
    """
    from crnn_cli.core.codec import Codec
    from crnn_cli.core.decoding import Decoder

    if decode.lm not in (None, NO_LANGUAGE, *weights.LANGUAGES):
        names = ", ".join(weights.LANGUAGES)
        raise UsageFault(
            f"lm is {short(decode.lm)}: a model may name {names}; "
            "give other language models by --lm"
        )
    if decode.lm in weights.LANGUAGES and config.direction != "ltr":
        raise UsageFault(
            f"lm is {decode.lm}, which reads from left to right, and the model from right to left"
        )
    Decoder(Codec.of(config), config.temperature, replace(decode, lm=None))


class TensorEntry(NamedTuple):
    """The description of a tensor in a header.

    Attributes:
        dtype: The name that safetensors gives the type of its elements.
        shape: The length of each axis.
    """

    dtype: str
    shape: tuple[int, ...]


def check_regular(path: Path) -> None:
    """Refuse a path that is not a regular file, as reading a device or a pipe may never end.

    Raises:
        OSError: The path does not exist, or its type may not be looked up.
        ModelError: The path is a folder, a device or a pipe.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise ModelError(f"{path}: {kind}, not a file: give the file itself")


def check_model_file(path: Path) -> None:
    """Refuse a path that cannot be that of a model file.

    Raises:
        ModelError: The path does not exist or is not a regular file.
    """
    try:
        check_regular(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # NUL in a name is a ValueError
        raise ModelError(f"{path}: no such model file") from None
    except OSError as fault:
        raise _unreadable(path, fault) from None


def _unreadable(path: Path, fault: OSError) -> ModelError:
    """Return the error that says why a model file cannot be read."""
    return ModelError(f"{path}: {fault.strerror}: give a model file that can be read")


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read the header of a model file, without torch and without reading the weights.

    Raises:
        ModelError: The file is missing, not a model file, damaged or truncated.
    """
    return _read_description(Path(path))[0]


def _read_description(path: Path) -> tuple[Header, dict[str, TensorEntry]]:
    """Read the header of a model file and the descriptions of its tensors, see `read_header`."""
    check_model_file(path)
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER_BYTES:
                raise ValueError("not a safetensors file")
            entries = _parse_json(file.read(length).decode("utf-8"))
        metadata = entries.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("metadata are texts")
    except OSError as fault:
        raise _unreadable(path, fault) from None
    except (ValueError, TypeError, AttributeError, struct.error):
        raise ModelError(f"{path}: not a crnn model file (expected safetensors)") from None
    if KEY not in metadata:
        raise ModelError(
            f"{path}: a safetensors file, but not one that `crnn train` wrote "
            f"(no {KEY!r} in its metadata)"
        )
    try:
        tensors, data_size = _parse_tensor_entries(entries)
    except (ValueError, KeyError, TypeError) as fault:
        raise ModelError(
            f"{path}: damaged: what its header says of the tensors is wrong ({fault})"
        ) from None
    size = path.stat().st_size
    expected_size = 8 + length + data_size
    if size < expected_size:
        raise ModelError(f"{path}: truncated ({size:,} of {expected_size:,} bytes): copy it again")
    return Header.from_json(metadata[KEY], path), tensors


def _parse_tensor_entries(entries: Mapping[str, Any]) -> tuple[dict[str, TensorEntry], int]:
    """Return the descriptions of the tensors in a header, and the bytes that they take together.

    Raises:
        ValueError, KeyError, TypeError: An entry is malformed, or the tensors are not contiguous.
    """
    tensors: dict[str, TensorEntry] = {}
    offset = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        shape = entry["shape"]
        begin, end = entry["data_offsets"]
        for number in (*shape, begin, end):
            if type(number) is not int or not 0 <= number < 2**48:
                raise ValueError(
                    f"{short(name)}: its shape or place is no whole number, or out of bounds"
                )
        dtype = entry["dtype"]
        if dtype not in _DTYPE_BYTES or len(shape) > _MAX_AXES:
            raise ValueError(
                f"{short(name)}: {short(dtype)} of {len(shape)} axes is not known here"
            )
        if begin != offset or end - begin != math.prod(shape) * _DTYPE_BYTES[dtype]:
            raise ValueError(
                f"{short(name)}: its place does not fit its shape or the other tensors"
            )
        tensors[name] = TensorEntry(dtype, tuple(shape))
        offset = end
    return tensors, offset


def _parse_json(text: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: The text is not a JSON object, has a key twice, or is nested too deep.
    """
    try:
        values = json.loads(text, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(values, dict):
        raise ValueError(f"{short(values)} where names and values were expected")
    if not _is_nested_within(values, _MAX_NESTING):
        raise ValueError("nested too deep")
    return values


def _is_nested_within(value: object, levels: int) -> bool:
    """Return whether lists and objects are nested at most `levels` deep."""
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_nested_within(item, levels - 1) for item in items)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dict, and raise ValueError if a key occurs twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name stands there twice")
    return values


def save(path: str | os.PathLike[str], header: Header, state: Mapping[str, torch.Tensor]) -> None:
    """Write a model file. At any moment `path` is the old file or the complete new one."""
    write_atomic(path, pack(header, state))


def pack(header: Header, state: Mapping[str, torch.Tensor]) -> bytes:
    """Return the bytes of a model file."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return save(tensors, {KEY: header.to_json()})


def load(path: str | os.PathLike[str]) -> tuple[Header, dict[str, torch.Tensor]]:
    """Load the header and the tensors of a model file, on the CPU, with float16 as float32.

    Raises:
        ModelError: A weight is NaN or infinite, or see `read_header`.
    """
    header = read_header(path)
    return header, _read_tensors(Path(path))


def load_model(path: str | os.PathLike[str]) -> tuple[CRNN, Header]:
    """Load the model of a file, in eval mode on the CPU.

    Raises:
        ModelError: The tensors do not fit the description, or see `load`.
    """
    import torch

    from crnn_cli.core.model import CRNN

    header, entries = _read_description(Path(path))
    with torch.device("meta"):  # shapes without memory
        needed = CRNN(header.config).state_dict()
    misfits = _misfits(entries, needed)
    if misfits:
        raise ModelError(f"{path}: its weights do not fit its description ({_abbreviate(misfits)})")
    model = CRNN(header.config)
    model.load_state_dict(_read_tensors(Path(path)))
    return model.eval(), header


def _misfits(entries: Mapping[str, TensorEntry], needed: Mapping[str, torch.Tensor]) -> list[str]:
    """Describe how the tensors of a file differ from those that its network needs."""
    misfits = [f"{name} is missing" for name in needed if name not in entries]
    misfits += [f"{short(name)} belongs to no layer" for name in entries if name not in needed]
    for name, tensor in needed.items():
        if name not in entries:
            continue
        dtype, shape = entries[name]
        if shape != tuple(tensor.shape):
            actual = "x".join(map(str, shape))
            misfits.append(f"{name} is {actual}, not {'x'.join(map(str, tensor.shape))}")
        elif ("F" in dtype) != tensor.is_floating_point():
            misfits.append(f"{name} is {dtype}")
    return misfits


def _abbreviate(texts: Sequence[str], limit: int = 5) -> str:
    """Join the first texts, and count the others."""
    shown = "; ".join(texts[:limit])
    more = len(texts) - limit
    return f"{shown}; and {more:,} more" if more > 0 else shown


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a file whose header was checked, with float16 as float32.

    Raises:
        ModelError: The file cannot be read or is damaged, or a weight is NaN or infinite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as unpack

    try:
        tensors = unpack(path.read_bytes())  # safetensors opens no path that is not UTF-8
    except OSError as fault:
        raise _unreadable(path, fault) from None
    except SafetensorError as fault:
        raise ModelError(f"{path}: damaged ({fault})") from None
    state = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    bad = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if bad:
        raise ModelError(
            f"{path}: damaged: weights that are NaN or infinite in {_abbreviate(bad)}: "
            "train or copy it again"
        )
    return state
