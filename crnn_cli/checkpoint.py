"""Model files: one safetensors file with everything in it, read without executing anything from it.

The tensors are the model's state; the header's metadata carries, under the key `crnn`, JSON with the format number, the
`ModelConfig` and the training record. A file that is no such thing, damaged or of a later format is refused by name.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crnn_cli.config import DecodeOptions, ModelConfig, from_plain
from crnn_cli.errors import CrnnError, ModelError
from crnn_cli.files import write_whole

if TYPE_CHECKING:
    import torch

    from crnn_cli.core.model import CRNN

FORMAT = 1
KEY = "crnn"
_LONGEST_HEADER = 100_000_000  # bytes, the safetensors format's own bound


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
            values = json.loads(text)
            found = values["format"]
            if found != FORMAT:
                raise ModelError(
                    f"{where}: model format {found!r}, this version reads format {FORMAT}: update crnn-cli"
                )
            decode = from_plain(DecodeOptions, values.get("decode", {}), "decoding settings")
            return cls(ModelConfig.from_dict(values["config"]), values["record"], decode)
        except ModelError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, CrnnError) as fault:
            raise ModelError(f"{where}: its model description is damaged ({fault})") from None


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header of a model file, without torch and without reading the weights.

    Raises:
        ModelError: no such file, not a model file, damaged or truncated.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError("not a safetensors file")
            entries: dict[str, Any] = json.loads(file.read(length))
        metadata = entries.pop("__metadata__", {})
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        raise ModelError(f"{path}: not a crnn model file (expected safetensors)") from None
    if KEY not in metadata:
        raise ModelError(
            f"{path}: a safetensors file, but not one that `crnn train` wrote (no {KEY!r} in its metadata)"
        )
    if path.stat().st_size < 8 + length + end:
        raise ModelError(f"{path}: truncated ({path.stat().st_size:,} of {8 + length + end:,} bytes): copy it again")
    return Header.from_json(metadata[KEY], path)


def save(path: str | os.PathLike[str], header: Header, state: Mapping[str, torch.Tensor]) -> None:
    """Write a model file; at any moment `path` is the old file or the whole new one."""
    write_whole(path, pack(header, state))


def pack(header: Header, state: Mapping[str, torch.Tensor]) -> bytes:
    """The bytes of a model file."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return save(tensors, {KEY: header.to_json()})


def load(path: str | os.PathLike[str]) -> tuple[Header, dict[str, torch.Tensor]]:
    """Header and tensors of a model file, on the CPU, float16 widened to float32.

    Raises:
        ModelError: see `read_header`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as unpack

    header = read_header(path)
    try:
        state = unpack(Path(path).read_bytes())  # safetensors opens no path that is not UTF-8
    except SafetensorError as fault:
        raise ModelError(f"{path}: damaged ({fault})") from None
    return header, {name: t.float() if t.is_floating_point() else t for name, t in state.items()}


def load_model(path: str | os.PathLike[str]) -> tuple[CRNN, Header]:
    """The model of a file, in eval mode on the CPU.

    Raises:
        ModelError: see `read_header`; also where the tensors do not fit the description.
    """
    from crnn_cli.core.model import CRNN

    header, state = load(path)
    model = CRNN(header.config)
    try:
        model.load_state_dict(state)
    except RuntimeError as fault:
        raise ModelError(f"{path}: its weights do not fit its description ({fault})") from None
    return model.eval(), header
