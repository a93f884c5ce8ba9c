"""Model files: one safetensors file with everything in it, read without executing anything from it.

The tensors are the model's state; the header's metadata carries, under the key `crnn`, JSON with the format number, the
`ModelConfig` and the training record. A file that is no such thing, damaged or of a later format is refused by name.

Nothing that a file says is believed: every type and bound is checked, and its tensors are held against the network that
its description needs before memory is taken for either.
"""

from __future__ import annotations

import json
import math
import os
import stat
import struct
from collections.abc import Iterable, Mapping
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
_LONGEST_HEADER = 16_000_000  # bytes; those of whole models have some 20,000
_BYTES = {
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
_AXES = 8  # of a tensor, at most
_NESTED = 50  # lists and objects in one another, at most: what shows them goes down them, too


@dataclass(frozen=True)
class Header:
    """What a model file says of itself.

    Attributes:
        config: all that is needed to build the model.
        record: how it was trained: settings, data, steps, validation figures. For people; nothing depends on it.
        decode: how its log-probabilities become text unless a reader asks for something else.
    """

    config: ModelConfig
    record: dict[str, Any] = field(default_factory=dict)
    decode: DecodeOptions = field(default_factory=DecodeOptions)

    def to_json(self) -> str:
        """The text kept in model files and exports."""
        values = {"format": FORMAT, "config": self.config.to_dict(), "record": self.record}
        if self.decode != DecodeOptions():
            values["decode"] = asdict(self.decode)
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str, where: str | os.PathLike[str]) -> Header:
        """The inverse of `to_json`.

        Raises:
            ModelError: not such a text, or of a later format; the message names `where`.
        """
        try:
            values = _parsed(text)
            found = values["format"]
            if type(found) is not int or found != FORMAT:
                raise ModelError(
                    f"{where}: model format {short(found)}, this version reads format {FORMAT}: update crnn-cli"
                )
            if not isinstance(values["record"], dict):
                raise ValueError(f"its record is {short(values['record'])}")
            decode = from_plain(DecodeOptions, values.get("decode", {}), "decoding settings")
            config = ModelConfig.from_dict(values["config"])
            _check_decoding(config, decode)
            return cls(config, values["record"], decode)
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


def _check_decoding(config: ModelConfig, decode: DecodeOptions) -> None:
    """Refuse an alphabet or decoder settings with which no text can be read.

    A language model is named, never a path: a stranger's file may not choose what is opened here.

    Raises:
        UsageFault: they are such.
    """
    from crnn_cli.core.codec import Codec
    from crnn_cli.core.decoding import Decoder

    if decode.lm not in (None, NO_LANGUAGE, *weights.LANGUAGES):
        names = ", ".join(weights.LANGUAGES)
        raise UsageFault(
            f"lm is {short(decode.lm)}: a model may name {names}; give other language models by --lm"
        )
    if decode.lm in weights.LANGUAGES and config.direction != "ltr":
        raise UsageFault(
            f"lm is {decode.lm}, which reads from left to right, and the model from right to left"
        )
    Decoder(Codec.of(config), config.temperature, replace(decode, lm=None))


class TensorEntry(NamedTuple):
    """The description of a tensor in a header: its type by safetensors' name, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def check_regular(path: Path) -> None:
    """Refuse what is no regular file, as reading a device or a pipe may never end.

    Raises:
        OSError: there is nothing of that name, or it may not be looked at.
        ModelError: it is a folder, a device or a pipe.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise ModelError(f"{path}: {kind}, not a file: give the file itself")


def check_model_file(path: Path) -> None:
    """Refuse a path at which there is no model file, see `check_regular`; ModelError also where there is nothing."""
    try:
        check_regular(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a name with NUL is a ValueError
        raise ModelError(f"{path}: no such model file") from None
    except OSError as fault:
        raise ModelError(f"{path}: {fault.strerror}: give a model file that can be read") from None


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header of a model file, without torch and without reading the weights.

    Raises:
        ModelError: no such file, not a model file, damaged or truncated.
    """
    return _described(Path(path))[0]


def _described(path: Path) -> tuple[Header, dict[str, TensorEntry]]:
    """The header of a model file, and what it says of the tensors; see `read_header`."""
    check_model_file(path)
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError("not a safetensors file")
            entries = _parsed(file.read(length).decode("utf-8"))
        metadata = entries.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("metadata are texts")
    except OSError as fault:
        raise ModelError(f"{path}: {fault.strerror}: give a model file that can be read") from None
    except (ValueError, TypeError, AttributeError, struct.error):
        raise ModelError(f"{path}: not a crnn model file (expected safetensors)") from None
    if KEY not in metadata:
        raise ModelError(
            f"{path}: a safetensors file, but not one that `crnn train` wrote (no {KEY!r} in its metadata)"
        )
    try:
        tensors, end = _tensors(entries)
    except (ValueError, KeyError, TypeError) as fault:
        raise ModelError(
            f"{path}: damaged: what its header says of the tensors is wrong ({fault})"
        ) from None
    size = path.stat().st_size
    if size < 8 + length + end:
        raise ModelError(
            f"{path}: truncated ({size:,} of {8 + length + end:,} bytes): copy it again"
        )
    return Header.from_json(metadata[KEY], path), tensors


def _tensors(entries: Mapping[str, Any]) -> tuple[dict[str, TensorEntry], int]:
    """The tensors of a header, which must lie one behind the other, and the bytes that they take.

    Raises:
        ValueError, KeyError, TypeError: they do not, or an entry is none.
    """
    found: dict[str, TensorEntry] = {}
    place = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        shape, (begin, end) = entry["shape"], entry["data_offsets"]
        if any(
            type(number) is not int or not 0 <= number < 2**48 for number in (*shape, begin, end)
        ):
            raise ValueError(
                f"{short(name)}: its shape or place is no whole number, or out of bounds"
            )
        if entry["dtype"] not in _BYTES or len(shape) > _AXES:
            raise ValueError(
                f"{short(name)}: {short(entry['dtype'])} of {len(shape)} axes is not known here"
            )
        if begin != place or end - begin != math.prod(shape) * _BYTES[entry["dtype"]]:
            raise ValueError(
                f"{short(name)}: its place does not fit its shape or the other tensors"
            )
        found[name] = TensorEntry(entry["dtype"], tuple(shape))
        place = end
    return found, place


def _parsed(text: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it is none, names a key twice, or is nested too deep.
    """
    try:
        values = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(values, dict):
        raise ValueError(f"{short(values)} where names and values were expected")
    if not _shallow(values, _NESTED):
        raise ValueError("nested too deep")
    return values


def _shallow(value: object, levels: int) -> bool:
    """Tell whether no more than `levels` lists and objects stand in one another."""
    if not isinstance(value, dict | list):
        return True
    inside = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_shallow(own, levels - 1) for own in inside)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name stands there twice")
    return values


def save(path: str | os.PathLike[str], header: Header, state: Mapping[str, torch.Tensor]) -> None:
    """Write a model file; at any moment `path` is the old file or the whole new one."""
    write_atomic(path, pack(header, state))


def pack(header: Header, state: Mapping[str, torch.Tensor]) -> bytes:
    """The bytes of a model file."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return save(tensors, {KEY: header.to_json()})


def load(path: str | os.PathLike[str]) -> tuple[Header, dict[str, torch.Tensor]]:
    """Header and tensors of a model file, on the CPU, float16 widened to float32.

    Raises:
        ModelError: see `read_header`; also where a weight is NaN or infinite.
    """
    header = read_header(path)
    return header, _state(Path(path))


def load_model(path: str | os.PathLike[str]) -> tuple[CRNN, Header]:
    """The model of a file, in eval mode on the CPU.

    Raises:
        ModelError: see `load`; also where the tensors do not fit the description.
    """
    import torch

    from crnn_cli.core.model import CRNN

    header, found = _described(Path(path))
    with torch.device("meta"):  # shapes without memory
        needed = CRNN(header.config).state_dict()
    faults = [
        *(f"{name} is missing" for name in needed if name not in found),
        *(f"{short(name)} belongs to no layer" for name in found if name not in needed),
        *(_misfits(name, found[name], own) for name, own in needed.items() if name in found),
    ]
    if any(faults):
        raise ModelError(
            f"{path}: its weights do not fit its description ({_few(filter(None, faults))})"
        )
    model = CRNN(header.config)
    model.load_state_dict(_state(Path(path)))
    return model.eval(), header


def _misfits(name: str, found: TensorEntry, needed: torch.Tensor) -> str:
    """Describe what is wrong with a tensor, "" where it can take its place."""
    if found.shape != tuple(needed.shape):
        return (
            f"{name} is {'x'.join(map(str, found.shape))}, not {'x'.join(map(str, needed.shape))}"
        )
    if ("F" in found.dtype) != needed.is_floating_point():
        return f"{name} is {found.dtype}"
    return ""


def _few(texts: Iterable[str], most: int = 5) -> str:
    listed = list(texts)
    return "; ".join(listed[:most]) + (
        f"; and {len(listed) - most:,} more" if len(listed) > most else ""
    )


def _state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file whose header was checked."""
    from safetensors import SafetensorError
    from safetensors.torch import load as unpack

    try:
        state = unpack(path.read_bytes())  # safetensors opens no path that is not UTF-8
    except OSError as fault:
        raise ModelError(f"{path}: {fault.strerror}: give a model file that can be read") from None
    except SafetensorError as fault:
        raise ModelError(f"{path}: damaged ({fault})") from None
    state = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    if bad := [name for name, tensor in state.items() if not tensor.isfinite().all()]:
        raise ModelError(
            f"{path}: damaged: weights that are NaN or infinite in {_few(bad)}: train or copy it again"
        )
    return state
