"""`crnn inspect`."""

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
    from crnn_cli.inspection import Dataset, Model

_BAR = 40  # characters of the longest bar
_SHOWN = 100  # characters of an alphabet listed with their counts


def command(
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

    For a model: its layers with shapes, parameters and multiply-adds, its alphabet, how it was trained. For a dataset:
    counts, alphabet, lengths and widths.

        crnn inspect model.safetensors

        crnn inspect dataset.lmdb --sheet samples.png
    """
    from crnn_cli import inspection
    from crnn_cli.data.store import Reader

    path = weights.path(path)
    if inspection.is_model(path):
        if sheet is not None:
            raise UsageFault("--sheet: a model has no samples to draw")
        model = inspection.model(path, width)
        _write(model.to_dict() if as_json else _model_lines(model), path)
        return
    if sheet is not None:
        files.check_output(sheet, overwrite, [path])
    reader = Reader(path)
    dataset = inspection.dataset(reader)
    _write(dataset.to_dict() if as_json else _dataset_lines(dataset), path)
    if sheet is not None:
        from crnn_cli.data.labels import shortened

        png, shown = inspection.sheet(reader)
        files.write_whole(sheet, png)
        console.note(f"{sheet}: {len(shown)} samples")
        undrawn = [
            f"  {index + 1} {_printable(shortened(label))}"
            for index, label in shown
            if not label.isascii()
        ]
        if undrawn:
            console.note("\n".join(("labels that stand there as numbers:", *undrawn)))


def _write(result: dict[str, Any] | Iterable[str], path: Path) -> None:
    files.write_stdout(
        row_formats.json_line(result, str(path)) if isinstance(result, dict) else "\n".join(result)
    )


def _model_lines(model: Model) -> Iterable[str]:
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
        **_told(model.header.decode),
        **_flat(model.header.record, "training."),
    }
    yield from columns((_printable(name), _printable(value)) for name, value in settings.items())


def _layer_rows(model: Model) -> Iterable[Sequence[str]]:
    yield "layer", "kind", f"output at {model.width}", "parameters", "mult-adds"
    for layer in model.layers:
        shape = "x".join(map(str, layer.shape))
        yield layer.name, layer.kind, shape, f"{layer.parameters:,}", _mega(layer.multiply_adds)
    for name, part in (("backbone", "backbone."), ("total", "")):
        parameters, multiply_adds = model.totals(part)
        yield name, "", "", f"{parameters:,}", _mega(multiply_adds)


def _dataset_lines(dataset: Dataset) -> Iterable[str]:
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
    for title, values in (
        ("characters in a label", dataset.lengths),
        ("width in pixels at height 32", dataset.widths),
    ):
        yield f"\n{title}"
        rows = [
            (str(low) if low == high else f"{low}-{high}", n) for low, high, n in histogram(values)
        ]
        yield from _bars(rows)
    frequent = sorted(dataset.characters.items(), key=lambda pair: -pair[1])
    yield "\nfrequency of characters"
    yield from _bars([(_visible(character), n) for character, n in frequent[:_SHOWN]])
    if len(frequent) > _SHOWN:
        yield f"and {len(frequent) - _SHOWN:,} rarer ones; --json has all"


def _alphabet(characters: Iterable[str]) -> str:
    """How many characters, and which: those that read rightward; those that read leftward and, last, the numbers of
    the unseen, each after a blank, so that none joins or hides its neighbour.
    """
    shown = [_visible(character) for character in characters]
    apart = [text for text in shown if len(text) > 1 or bidirectional(text) in ("R", "AL")]
    together = "".join(text for text in shown if text not in apart)
    return (
        f"{len(shown):,} characters: {' '.join(filter(None, [together, *sorted(apart, key=len)]))}"
    )


def _visible(character: str) -> str:
    """`character`, or its number where it has no looks of its own: blanks, controls, combining marks."""
    own = character.isprintable() and not character.isspace() and category(character)[0] != "M"
    return character if own else f"U+{ord(character):04X}"


def _printable(value: object) -> str:
    """`value` as text in which nothing speaks to the terminal: it may be a stranger's."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in str(value))


def _mega(multiply_adds: int) -> str:
    return f"{multiply_adds / 1e6:.2f} M" if multiply_adds else ""


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `data.sources: ...`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat


def _bars(rows: Sequence[tuple[str, int]]) -> Iterable[str]:
    most = max((count for _, count in rows), default=1)
    return columns([(name, f"{n:,}", "#" * -(-_BAR * n // most)) for name, n in rows], right=(1,))


def _told(decode: DecodeOptions) -> dict[str, Any]:
    """What the file says of decoding, where that is not what every file does."""
    usual = asdict(DecodeOptions())
    return {
        f"decoding.{name}": value for name, value in asdict(decode).items() if value != usual[name]
    }
