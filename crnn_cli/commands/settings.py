"""From the options of `crnn train` to a run's settings and back: command line, `--config`, a run that is resumed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from crnn_cli.commands import options
from crnn_cli.config import DataConfig, ModelConfig, TrainConfig
from crnn_cli.errors import ConfigError, TrainingError, UsageFault
from crnn_cli.files import write_whole

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from crnn_cli import training

Config = TypeVar("Config", ModelConfig, DataConfig, TrainConfig)

_NO_SETTINGS = {
    "output",
    "overwrite",
    "resume",
    "config",
}  # these say what to do with a run, not what it is
_NOT_IN_FILES = {
    "overwrite",
    "resume",
}  # what is replaced or gone on with is said where crnn is called
_LARGEST = 2**20  # bytes of a settings file, far more than any has
_FREE_ON_RESUME = {"device", "workers"}


def take(context: typer.Context, path: Path | None) -> Path | None:
    """Callback of `--config`: the file's values stand in for the options not given on the command line.

    Raises:
        ConfigError: see `read`.
    """
    if path is not None:
        context.default_map = {**(context.default_map or {}), **read(path, context)}
    return path


def read(path: Path, context: typer.Context) -> dict[str, Any]:
    """The values of a TOML file by parameter name, as the options take them: `max-minutes = 8` is `--max-minutes 8`.

    Raises:
        ConfigError: no such file, no TOML, a key that is no option of the verb, or a value that its option cannot take.
    """
    given = _parsed(path)
    known = {
        parameter.name: parameter
        for parameter in context.command.params
        if parameter.name != "config"
    }
    unknown = [key for key in given if key.replace("-", "_") not in known]
    if unknown:
        some = ", ".join(key if key.isprintable() else ascii(key) for key in unknown[:5])
        some += ", ..." if len(unknown) > 5 else ""
        raise ConfigError(f"{path}: {some}: no option of crnn {context.info_name} (see --help)")
    if forbidden := sorted(_NOT_IN_FILES.intersection(given)):
        raise ConfigError(
            f"{path}: {', '.join(forbidden)}: not taken from a file: give it on the command line"
        )
    values = {}
    try:
        for key, value in given.items():
            name = key.replace("-", "_")
            values[name] = _converted(key, value, known[name], context)
        _pick(ModelConfig, values, alphabet="")
        _pick(DataConfig, values)
        _pick(TrainConfig, values)
    except UsageFault as fault:
        raise ConfigError(f"{path}: {fault}") from None
    return values


def _parsed(path: Path) -> dict[str, Any]:
    if path.is_fifo() and Path("/dev") not in path.parents:  # one that a shell makes is in there
        raise ConfigError(f"{path}: a named pipe: give a TOML file")
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ConfigError(
                f"{path}: more than {_LARGEST:,} bytes: no settings file, give another"
            )
        values: dict[str, Any] = tomllib.loads(data.decode("utf-8-sig"))
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}: give a TOML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not in UTF-8, as TOML files are: save it in UTF-8") from None
    except ValueError as fault:  # also of numbers too long for Python
        raise ConfigError(f"{path}: not a TOML file ({fault})") from None
    except RecursionError:
        raise ConfigError(f"{path}: not a settings file (its values are nested too deep)") from None
    return values


def _converted(key: str, value: Any, parameter: Any, context: typer.Context) -> Any:
    """The value as the command line would give it. Raises UsageFault where the option cannot take it."""
    listed = parameter.nargs != 1 or parameter.multiple
    if isinstance(value, list) != listed or any(
        isinstance(item, dict | list) for item in (value if listed else [value])
    ):
        raise UsageFault(f"{key} is {value!r}: take {'a list' if listed else 'one value'}")
    if isinstance(value, bool) and not parameter.is_flag:
        raise UsageFault(f"{key} is {str(value).lower()}: take what --{key} takes")
    for item in value if listed else [value]:
        if not isinstance(item, str | int | float) or "\0" in str(item):
            raise UsageFault(f"{key} is {item!r}: take text without NUL, a number, true or false")
    text = [str(item) for item in value] if listed else str(value)  # 1.5 is no integer then
    try:
        return parameter.process_value(context, value if isinstance(value, bool) else text)
    except typer.BadParameter as fault:
        raise UsageFault(f"{key} is {value!r}: {fault.message}") from None


def write(path: Path, values: Mapping[str, Any]) -> None:
    """The inverse of `read`; what is None is left out."""
    import tomli_w

    plain = {key.replace("_", "-"): value for key, value in values.items() if value is not None}
    write_whole(path, tomli_w.dumps(plain).encode())


def resolved(values: Mapping[str, Any], *configs: ModelConfig | TrainConfig) -> dict[str, Any]:
    """The options as a run's settings file keeps them: those of `configs` as the run has them, paths as text."""
    kept = {
        k: str(v) if isinstance(v, Path) else v for k, v in values.items() if k not in _NO_SETTINGS
    }
    real = {f.name: getattr(config, f.name) for config in configs for f in fields(config)}
    return kept | {k: v for k, v in real.items() if k in kept and k != "alphabet"}


def hold_to(path: Path, context: typer.Context) -> None:
    """Take the settings of the run that is resumed from its file; options that contradict them are refused.

    Raises:
        TrainingError: there is no such run.
        UsageFault: an option that would change the run.
    """
    if not path.is_file() and path.with_name("state.pt").exists():
        raise TrainingError(
            f"{path}: missing, so the run's settings are not known: bring it back, or use --overwrite"
        )
    if not path.is_file():
        raise TrainingError(
            f"{path}: no such run, so there is nothing to resume: train without --resume"
        )
    kept = read(path, context)
    for name, mine in context.params.items():
        given, theirs = options.given(context, name), kept.get(name, "none")
        if name in _NO_SETTINGS or (given and name in _FREE_ON_RESUME):
            continue
        if given and mine != theirs:
            raise UsageFault(
                f"--{name.replace('_', '-')} {mine}: the run that is resumed has {theirs} and goes on as it began: "
                "leave the option out, or start another run with --init"
            )
        if name in kept:
            context.params[name] = theirs
    _settle_flat_start(context.params)


def settle(context: typer.Context) -> None:
    """Decide what was left open of a new run by what else was asked for, so that its settings file has it.

    Raises:
        UsageFault: a path that the file cannot have.
    """
    values = context.params
    if values["synth"] and not options.given(context, "data"):
        values["data"] = []  # what is rendered is all
    _settle_flat_start(values)
    for name, value in values.items():
        listed = list(value) if isinstance(value, list | tuple) else [value]
        try:
            "".join(map(str, listed)).encode()
        except UnicodeEncodeError:
            raise UsageFault(
                f"{name.replace('_', '-')} {', '.join(map(ascii, listed))}: not UTF-8, as settings are kept: rename it"
            ) from None


def _settle_flat_start(values: dict[str, Any]) -> None:
    if values["flat_start"] is None:
        values["flat_start"] = (
            0 if values["init"] else TrainConfig.flat_start
        )  # a model knows where characters stand


def of(context: typer.Context, state: Mapping[str, Any] | None, masks: Path) -> training.Settings:
    """The settings that the options describe; of a run that is resumed, the model is as its state says.

    With `--init`, what the user left alone is as the initial model has it. With `--synth`, `masks` is a source too.
    """
    from crnn_cli import checkpoint, training, weights
    from crnn_cli.data.alphabet import read_alphabet

    values = context.params
    init = values["init"]
    if state is not None:
        model = ModelConfig.from_dict(state["config"])
    elif init:
        chosen = {
            f.name: values[f.name] for f in fields(ModelConfig) if options.given(context, f.name)
        }
        model = replace(
            checkpoint.read_header(weights.path(init)).config, **(chosen | {"alphabet": ""})
        )
    else:
        model = _pick(ModelConfig, values, alphabet="")
    if values["alphabet"] and state is None:
        model = replace(model, alphabet=read_alphabet(values["alphabet"]))
    sources = [_source(given) for given in values["data"]]
    if values["synth"]:
        sources.append((str(masks), None))
    data = _pick(DataConfig, values, sources=tuple(sources), val=tuple(values["val"]))
    return training.Settings(model, data, _pick(TrainConfig, values), str(init) if init else None)


def _pick(kind: type[Config], values: Mapping[str, Any], **own: Any) -> Config:
    """A dataclass of the options that bear its fields' names."""
    return kind(**({f.name: values[f.name] for f in fields(kind) if f.name in values} | own))


def _source(given: str) -> tuple[str, float | None]:
    """`a.lmdb:3` as path and weight; a path that exists is a path."""
    path, colon, weight = given.rpartition(":")
    if Path(given).exists() or not colon:
        return given, None
    try:
        return path, float(weight)
    except ValueError:
        return given, None
