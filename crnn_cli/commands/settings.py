"""Settings of training runs, from the command line, `--config`, or the run that is resumed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from crnn_cli.commands.grouped import is_given
from crnn_cli.config import DataConfig, ModelConfig, TrainConfig
from crnn_cli.errors import ConfigError, TrainingError, UsageFault
from crnn_cli.files import write_atomic
from crnn_cli.plain import first_few

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from crnn_cli import training
    from crnn_cli.commands.train_options import TrainOptions

Config = TypeVar("Config", ModelConfig, DataConfig, TrainConfig)

_NO_SETTINGS = {"output", "overwrite", "resume", "config"}  # what to do with a run, not what it is
_NOT_IN_FILES = {"overwrite", "resume"}  # they belong to one call of crnn
_MAX_FILE_SIZE = 2**20  # bytes, far more than any settings file has
_FREE_ON_RESUME = {"device", "workers"}  # a resumed run may have others


def take(context: typer.Context, path: Path | None) -> Path | None:
    """Use the values of the file for options that are not on the command line.

    This is the callback of `--config`.

    Raises:
        ConfigError: See `read`.
    """
    if path is not None:
        context.default_map = {**(context.default_map or {}), **read(path, context)}
    return path


def read(path: Path, context: typer.Context) -> dict[str, Any]:
    """Return the values of a TOML file by parameter name: `max-minutes = 8` is `--max-minutes 8`.

    Raises:
        ConfigError: The file is missing or not TOML, or it has a key that is not an option of the
            verb, or a value that its option cannot take.
    """
    table = _parse(path)
    parameters = {
        parameter.name: parameter
        for parameter in context.command.params
        if parameter.name != "config"
    }
    unknown = [key for key in table if key.replace("-", "_") not in parameters]
    if unknown:
        keys = [key if key.isprintable() else ascii(key) for key in unknown]
        names = first_few(keys, end=", ...")
        raise ConfigError(f"{path}: {names}: no option of crnn {context.info_name} (see --help)")
    if forbidden := sorted(_NOT_IN_FILES.intersection(table)):
        raise ConfigError(
            f"{path}: {', '.join(forbidden)}: not taken from a file: give it on the command line"
        )
    values: dict[str, Any] = {}
    try:
        for key, value in table.items():
            name = key.replace("-", "_")
            values[name] = _convert(key, value, parameters[name], context)
        _pick(ModelConfig, values, alphabet="")
        _pick(DataConfig, values)
        _pick(TrainConfig, values)
    except UsageFault as fault:
        raise ConfigError(f"{path}: {fault}") from None
    return values


def _parse(path: Path) -> dict[str, Any]:
    if path.is_fifo() and Path("/dev") not in path.parents:  # a shell's own pipes are in /dev
        raise ConfigError(f"{path}: a named pipe: give a TOML file")
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_SIZE + 1)
        if len(data) > _MAX_FILE_SIZE:
            raise ConfigError(
                f"{path}: more than {_MAX_FILE_SIZE:,} bytes: no settings file, give another"
            )
        values: dict[str, Any] = tomllib.loads(data.decode("utf-8-sig"))
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}: give a TOML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not in UTF-8, as TOML files are: save it in UTF-8") from None
    except ValueError as fault:  # also where a number is too long for Python
        raise ConfigError(f"{path}: not a TOML file ({fault})") from None
    except RecursionError:
        raise ConfigError(f"{path}: not a settings file (its values are nested too deep)") from None
    return values


def _convert(key: str, value: Any, parameter: Any, context: typer.Context) -> Any:
    """Return the value as the command line would give it.

    Raises:
        UsageFault: The option cannot take the value.
    """
    takes_list = parameter.nargs != 1 or parameter.multiple
    items = value if isinstance(value, list) else [value]
    if isinstance(value, list) != takes_list or any(
        isinstance(item, dict | list) for item in items
    ):
        raise UsageFault(f"{key} is {value!r}: take {'a list' if takes_list else 'one value'}")
    if isinstance(value, bool) and not parameter.is_flag:
        raise UsageFault(f"{key} is {str(value).lower()}: take what --{key} takes")
    for item in items:
        if not isinstance(item, str | int | float) or "\0" in str(item):
            raise UsageFault(f"{key} is {item!r}: take text without NUL, a number, true or false")
    text = [str(item) for item in value] if takes_list else str(value)  # 1.5 is no integer then
    try:
        return parameter.process_value(context, value if isinstance(value, bool) else text)
    except typer.BadParameter as fault:
        raise UsageFault(f"{key} is {value!r}: {fault.message}") from None


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Write a file from which `read` returns the values; those that are None are left out."""
    import tomli_w

    plain = {key.replace("_", "-"): value for key, value in values.items() if value is not None}
    write_atomic(path, tomli_w.dumps(plain).encode())


def resolved(values: Mapping[str, Any], *configs: ModelConfig | TrainConfig) -> dict[str, Any]:
    """Return the options for the settings file of a run, with the values of the run's configs."""
    kept = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in values.items()
        if name not in _NO_SETTINGS
    }
    for config in configs:
        for name, value in asdict(config).items():
            if name in kept and name != "alphabet":
                kept[name] = value
    return kept


def for_resumed_run(path: Path, context: typer.Context) -> dict[str, Any]:
    """Return the option values of the run that is resumed, from its settings file.

    Raises:
        TrainingError: There is no such run.
        UsageFault: The user gave an option that would change the run.
    """
    if not path.is_file() and path.with_name("state.pt").exists():
        raise TrainingError(
            f"{path}: missing, so the run's settings are not known: bring it back, or use"
            " --overwrite"
        )
    if not path.is_file():
        raise TrainingError(
            f"{path}: no such run, so there is nothing to resume: train without --resume"
        )
    saved = read(path, context)
    values = dict(context.params)
    for name, value in context.params.items():
        chosen = is_given(context, name)
        if name in _NO_SETTINGS or (chosen and name in _FREE_ON_RESUME):
            continue
        if chosen and value != saved.get(name, "none"):
            raise UsageFault(
                f"--{name.replace('_', '-')} {value}: the run that is resumed has"
                f" {saved.get(name, 'none')} and goes on as it began: leave the option out, or"
                " start another run with --init"
            )
        values[name] = saved.get(name, value)
    return _with_flat_start(values)


def for_new_run(context: typer.Context) -> dict[str, Any]:
    """Return the option values of a new run, with every option resolved for its settings file.

    Raises:
        UsageFault: A path cannot stand in a settings file.
    """
    values = dict(context.params)
    if values["synth"] and not is_given(context, "data"):
        values["data"] = []  # the rendered text is all the data
    for name, value in values.items():
        items = list(value) if isinstance(value, list | tuple) else [value]
        try:
            "".join(map(str, items)).encode()
        except UnicodeEncodeError:
            raise UsageFault(
                f"{name.replace('_', '-')} {', '.join(map(ascii, items))}: not UTF-8, as settings"
                " are kept: rename it"
            ) from None
    return _with_flat_start(values)


def _with_flat_start(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with `flat_start` resolved: an initial model already aligns characters."""
    if values["flat_start"] is None:
        values["flat_start"] = 0 if values["init"] else TrainConfig.flat_start
    return values


def run_settings(
    context: typer.Context,
    options: TrainOptions,
    values: Mapping[str, Any],
    state: Mapping[str, Any] | None,
    masks: Path,
) -> training.RunSettings:
    """Return the settings that the options describe.

    With `--init`, the model settings are those of the initial model, except where the user chooses
    others.

    Args:
        context: The context of the command, which knows the options that the user gave.
        options: The options of the run.
        values: The same options by name.
        state: The state of the run that is resumed, which determines the model; None for a new run.
        masks: The dataset of texts that is a further source with `--synth`.
    """
    from crnn_cli import checkpoint, training, weights
    from crnn_cli.data.alphabet import read_alphabet

    init = options.model.init
    if state is not None:
        model = ModelConfig.from_dict(state["config"])
    elif init:
        names = [option.name for option in fields(ModelConfig) if is_given(context, option.name)]
        chosen = {name: values[name] for name in names} | {"alphabet": ""}
        model = replace(checkpoint.read_header(weights.path(init)).config, **chosen)
    else:
        model = _pick(ModelConfig, values, alphabet="")
    if options.model.alphabet and state is None:
        model = replace(model, alphabet=read_alphabet(options.model.alphabet))
    sources = [_source(path) for path in options.data]
    if options.synthetic.synth:
        sources.append((str(masks), None))
    data = _pick(DataConfig, values, sources=tuple(sources), val=tuple(options.samples.val))
    train = _pick(TrainConfig, values)
    return training.RunSettings(model, data, train, str(init) if init else None)


def _pick(kind: type[Config], values: Mapping[str, Any], **settings: Any) -> Config:
    """Make a config from those of `values` that are named like its fields, and `settings`."""
    picked = {name: values[name] for name in kind.__dataclass_fields__ if name in values}
    return kind(**{**picked, **settings})


def _source(text: str) -> tuple[str, float | None]:
    """Return the path and the weight in `a.lmdb:3`; a text that exists as a path has no weight."""
    path, colon, weight = text.rpartition(":")
    if Path(text).exists() or not colon:
        return text, None
    try:
        return path, float(weight)
    except ValueError:
        return text, None
