"""The command `crnn inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from unicodedata import bidirectional, category

import typer

from crnn_cli import console, files, weights
from crnn_cli.commands import options, row_formats
from crnn_cli.commands.columns import columns
from crnn_cli.config import DecodeOptions
from crnn_cli.errors import UsageFault

if TYPE_CHECKING:
    from crnn_cli.inspection import DatasetSummary, ModelSummary

_BAR_LENGTH = 40  # characters of the longest bar
_MAX_CHARACTERS = 100  # characters of an alphabet that are listed with their counts


def inspect(
    path: Annotated[
        Path, typer.Argument(metavar="MODEL_OR_LMDB", help="A model file or a dataset.")
    ],
    width: Annotated[
        int,
        typer.Option(
            min=8, max=2**16, help="Pixels of the image that a model's table is made for."
        ),
    ] = 100,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a PNG of sample images with their labels.",
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show what is in a model file or a dataset.

    For a model: its layers with shapes, parameters and multiply-adds, its alphabet, how it was
    trained. For a dataset: counts, alphabet, lengths and widths.

        crnn inspect model.safetensors

        crnn inspect dataset.lmdb --sheet samples.png
    """
    from crnn_cli import inspection
    from crnn_cli.data.store import LmdbReader

    path = weights.path(path)
    if inspection.is_model(path):
        if sheet is not None:
            raise UsageFault("--sheet: a model has no samples to draw")
        model = inspection.summarize_model(path, width)
        _write(model.to_dict() if as_json else _model_lines(model), path)
        return
    if sheet is not None:
        files.check_output(sheet, overwrite, [path])
    reader = LmdbReader(path)
    dataset = inspection.summarize_dataset(reader)
    _write(dataset.to_dict() if as_json else _dataset_lines(dataset), path)
    if sheet is not None:
        from crnn_cli.data.label_records import shortened

        png, shown = inspection.contact_sheet(reader)
        files.write_atomic(sheet, png)
        console.note(f"{sheet}: {len(shown)} samples")
        undrawn = [
            f"  {index + 1} {_printable(shortened(label))}"
            for index, label in shown
            if not label.isascii()
        ]
        if undrawn:
            console.note("\n".join(("labels that stand there as numbers:", *undrawn)))


def _write(result: dict[str, Any] | Iterable[str], path: Path) -> None:
    if isinstance(result, dict):
        files.write_stdout(row_formats.json_line(result, str(path)))
    else:
        files.write_stdout("\n".join(result))


def _model_lines(model: ModelSummary) -> Iterable[str]:
    from crnn_cli.core.codec import Codec

    config = model.header.config
    codec = Codec.of(config)
    if model.layers:
        yield from columns(_layer_rows(model), right=(3, 4))
        yield ""
    network = (
        f"{config.backbone}, {config.layers} bidirectional {config.rnn.upper()} of {config.units}"
        " units"
    )
    reading = "right to left" if config.direction == "rtl" else "left to right"
    widened = f"narrow ones widened to {config.widen_below}, " if config.widen_below else ""
    settings = {
        "network": network,
        "images": (
            f"height {config.height}, {'grey' if config.channels == 1 else 'RGB'}, at least"
            f" {config.minimum_width} wide, {widened}(pixel / 255 - {config.mean}) / {config.std}"
        ),
        "alphabet": _alphabet(config.alphabet),
        "classes": f"{codec.classes}, the CTC blank is class 0",
        "text": (
            f"{config.normalization}, {reading}, case"
            f" {'lowered' if config.case == 'lower' else 'kept'}"
        ),
        "temperature": config.temperature,
        **_decoding(model.header.decode),
        **_flat(model.header.record, "training."),
    }
    yield from columns((_printable(name), _printable(value)) for name, value in settings.items())


def _layer_rows(model: ModelSummary) -> Iterable[Sequence[str]]:
    yield "layer", "kind", f"output at {model.width}", "parameters", "mult-adds"
    for layer in model.layers:
        shape = "x".join(map(str, layer.shape))
        yield layer.name, layer.kind, shape, f"{layer.parameters:,}", _mega(layer.multiply_adds)
    for name, part in (("backbone", "backbone."), ("total", "")):
        parameters, multiply_adds = model.totals(part)
        yield name, "", "", f"{parameters:,}", _mega(multiply_adds)


def _dataset_lines(dataset: DatasetSummary) -> Iterable[str]:
    from crnn_cli.inspection import histogram

    counts = {
        "samples": f"{dataset.samples:,}",
        "empty labels": f"{dataset.empty:,}",
        "infeasible": (
            f"{dataset.infeasible:,} labels need more frames than the default model gives"
        ),
        "alphabet": _alphabet(dataset.characters),
    }
    yield from columns(counts.items())
    histograms = {
        "characters in a label": dataset.lengths,
        "width in pixels at height 32": dataset.widths,
    }
    for title, values in histograms.items():
        yield f"\n{title}"
        bins = histogram(values)
        yield from _bars(
            [(str(low) if low == high else f"{low}-{high}", count) for low, high, count in bins]
        )
    frequent = sorted(dataset.characters.items(), key=lambda pair: -pair[1])
    yield "\nfrequency of characters"
    shown = frequent[:_MAX_CHARACTERS]
    yield from _bars([(_visible(character), count) for character, count in shown])
    if len(frequent) > len(shown):
        yield f"and {len(frequent) - len(shown):,} rarer ones; --json has all"


def _alphabet(characters: Iterable[str]) -> str:
    """Return the number of characters and the characters themselves.

    Characters that are read from left to right come first. Those that are read from right to left
    and the code points of invisible ones follow, each after a blank, so that none joins or hides
    its neighbour.
    """
    shown = [_visible(character) for character in characters]
    joined = ""
    separate = []
    for text in shown:
        if len(text) > 1 or bidirectional(text) in ("R", "AL"):
            separate.append(text)
        else:
            joined += text
    separate.sort(key=len)
    return f"{len(shown):,} characters: {' '.join(filter(None, [joined, *separate]))}"


def _visible(character: str) -> str:
    """Return the character, or the code point of a blank, a control or a combining mark."""
    blank = character.isspace() or not character.isprintable()
    if blank or category(character)[0] == "M":
        return f"U+{ord(character):04X}"
    return character


def _printable(value: object) -> str:
    """Return `value` as text without control characters, as files may come from anyone."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in str(value))


def _mega(multiply_adds: int) -> str:
    return f"{multiply_adds / 1e6:.2f} M" if multiply_adds else ""


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by names such as `data.sources`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _bars(rows: Sequence[tuple[str, int]]) -> Iterable[str]:
    longest = max((count for _, count in rows), default=1)
    lines = []
    for name, count in rows:
        bar = "#" * -(-_BAR_LENGTH * count // longest)
        lines.append((name, f"{count:,}", bar))
    return columns(lines, right=(1,))


def _decoding(decode: DecodeOptions) -> dict[str, Any]:
    """Return the options of decoding that differ from the defaults."""
    defaults = asdict(DecodeOptions())
    return {
        f"decoding.{name}": value
        for name, value in asdict(decode).items()
        if value != defaults[name]
    }
