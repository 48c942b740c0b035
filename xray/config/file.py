"""The YAML file of a run: read, overridden, and checked before use."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from xray.common.errors import UserError
from xray.common.redaction import SECRET_NAME, redacted
from xray.config.run import RunConfig

# What yaml raises: for the date 2020-13-45, `!!bool z`, `!!int ''`, `!!timestamp z` and
# three thousand brackets it is none of its own errors.
NO_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
SHOWN = 80  # characters of a value received


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The validated configuration in the YAML file `path`.

    Args:
        path: the YAML file.
        overrides: `section.key=value` strings, applied in order; values are YAML.

    Raises:
        UserError: the file cannot be read, a key is unknown or a value is refused.
    """
    settings = _read_yaml(Path(path))
    for override in overrides:
        apply_override(settings, override)
    return parse_config(settings, path)


def parse_config(settings: dict[str, Any], source: str | Path) -> RunConfig:
    """The validated configuration of `settings`, sections by name.

    Args:
        settings: as `RunConfig.to_dict` gives them, or fewer.
        source: where they come from, for messages.

    Raises:
        UserError: a key is unknown or a value is refused.
    """
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise UserError(one_line(error, source, RunConfig)) from None


def read_yaml_mapping(path: Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML file, without quoting its content in an error.

    Raises:
        UserError: no such file, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: no text, or a NUL in its name
        reason = getattr(error, "strerror", None) or "not a text file"
        shown = repr(str(path)) if "\0" in str(path) else path
        raise UserError(f"{what} {shown} cannot be read: {reason}.") from None
    try:
        content = yaml.safe_load(text)
    except NO_YAML as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{what} {path} is not valid YAML{where}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{what} {path} must hold `key: value` lines.")
    return content


def _read_yaml(path: Path) -> dict[str, Any]:
    settings = read_yaml_mapping(path, "Configuration")
    # `model:` with nothing under it reads as null and means the defaults.
    return {name: {} if value is None else value for name, value in settings.items()}


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Put one `section.key=value` into `settings`; UserError where it is none."""
    name, equals, text = override.partition("=")
    section, dot, key = name.partition(".")
    if not (equals and dot and section and key):
        raise UserError(
            f"--set takes section.key=value. Got {name!r}; try training.epochs=3."
        )
    value = parse_value("--set", name, text)
    if not isinstance(settings.setdefault(section, {}), dict):
        raise UserError(f"--set {name}: section {section!r} holds no keys.")
    settings[section][key] = value


def parse_value(option: str, name: str, text: str) -> Any:
    """The YAML value that `option` gives the key `name`; UserError where it is none."""
    try:
        return yaml.safe_load(text)
    except NO_YAML:
        raise UserError(
            f"{option} {name}: the value is not YAML. Got {_shown(text, name)}."
        ) from None


def one_line(
    error: ValidationError,
    path: str | Path,
    model: type[BaseModel],
    option: str = "--set",
) -> str:
    """The first complaint of pydantic as rule, value and next step.

    Args:
        error: of `model.model_validate`.
        path: the file, for the message.
        model: that refused what is in it.
        option: of the command line that sets a key.
    """
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    where = where if where.isprintable() else ascii(where)
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{path}: unknown key {where!r}. {_nearest(first['loc'], model)}{more}"
    if first["type"] == "missing":
        return (
            f"{path}: {where} is required. Add it to the file or give {option}.{more}"
        )
    rule = first["msg"].removeprefix("Value error, ")
    rule = rule[0].lower() + rule[1:]
    plain = isinstance(first["input"], str | int | float | None)
    received = f" Got {_shown(first['input'], where)}." if where and plain else ""
    return f"{path}: {where + ': ' if where else ''}{rule}.{received}{more}"


def _shown(value: Any, name: str) -> str:
    """A value received, shortened, and hidden where its setting is named a secret."""
    value = redacted({name: value})[name] if SECRET_NAME.search(name) else value
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _nearest(location: tuple[Any, ...], model: type[BaseModel]) -> str:
    fields = model.model_fields
    for part in location[:-1]:
        fields = fields[part].annotation.model_fields
    matches = difflib.get_close_matches(str(location[-1]), fields, n=1, cutoff=0.5)
    if matches:
        return f"Did you mean {'.'.join([*map(str, location[:-1]), matches[0]])!r}?"
    return f"Known keys: {', '.join(fields)}."
