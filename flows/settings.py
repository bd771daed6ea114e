"""Settings from flags > ``ANOCLUST_*`` environment > ``anoclust.toml`` > defaults, each with where it came from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from anoclust_core.config import RunConfig, flatten, nest
from anoclust_core.errors import ConfigError
from anoclust_core.setting_texts import SETTING_TEXTS

FILE_NAME: Final = "anoclust.toml"
"""Read from the current folder where no other file is named."""

PREFIX: Final = "ANOCLUST_"
FILE_VARIABLE: Final = f"{PREFIX}CONFIG"
"""Names another file."""

STORE: Final = "store"
STORE_TEXT: Final = "Folder that everything is kept in: embeddings, distances, runs."
DEFAULT_STORE: Final = "anoclust-store"
DEFAULT: Final = "default"

_PATHS: Final = {STORE: (), "data.normals": ("auto", "none"), "embed.checkpoint": ("none",)}
"""Settings that are paths, and the words that are none; in a file they start at the file's folder."""


@dataclass(frozen=True)
class Settings:
    """What is asked for, and where each value came from.

    Attributes
    ----------
    store
        Folder of the store.
    config
        Everything else, validated.
    origins
        From dotted name to ``default``, the file, the environment variable or the flag.
    """

    store: Path
    config: RunConfig
    origins: Mapping[str, str]

    def values(self) -> dict[str, object]:
        """Every value by dotted name, as a file or variable would write it."""
        return {STORE: str(self.store), **{name: as_text(name, value) for name, value in _flat(self.config).items()}}


def defaults() -> dict[str, object]:
    """Every setting's default, as a file would write it."""
    return {STORE: DEFAULT_STORE, **{name: as_text(name, value) for name, value in _flat(RunConfig()).items()}}


def texts() -> dict[str, str]:
    """Meaning of every setting."""
    return {STORE: STORE_TEXT, **SETTING_TEXTS}


def as_text(name: str, value: object) -> object:
    """Write a value the way that files and variables take it; None has a word."""
    if value is None:
        return "none" if name in ("embed.checkpoint", "pair.dask") else "auto"
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    if name in ("memory", "pair.store_budget"):
        return f"{int(str(value))}B" if int(str(value)) % (1 << 20) else f"{int(str(value)) >> 20}MiB"
    return value


def variable_of(name: str) -> str:
    """Environment variable of a setting.

    Examples
    --------
    >>> variable_of("weigh.tau")
    'ANOCLUST_WEIGH__TAU'
    """
    return PREFIX + name.upper().replace(".", "__")


def flag_of(name: str) -> str:
    """Flag of a setting.

    Examples
    --------
    >>> flag_of("group.n_clusters")
    '--n-clusters'
    """
    return "--" + name.rpartition(".")[2].replace("_", "-")


def resolve(
    flags: Mapping[str, object] | None = None,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Collect the settings of a command.

    Parameters
    ----------
    flags
        Values from the command line by dotted name; None where a flag was not given.
    file
        Configuration file; by default the one that ``ANOCLUST_CONFIG`` names, else ``anoclust.toml`` where there is
        one.
    environment
        Environment variables; those of the process by default.
    overrides
        Values that a command brings itself, above the defaults and below everything that the user says.

    Raises
    ------
    ConfigError
        If a name is unknown, a value is not valid, or the file cannot be read; the message names the source.
    """
    variables = os.environ if environment is None else environment
    values: dict[str, object] = {STORE: DEFAULT_STORE, **(overrides or {})}
    origins = dict.fromkeys(defaults(), DEFAULT)
    for source in (_from_file(file, variables), _from_environment(variables), _from_flags(flags or {})):
        for name, (value, origin) in source.items():
            values[name] = value
            origins[name] = origin
    store = str(values.pop(STORE))
    if not store:
        raise ConfigError(f"{origins[STORE]}: the store is the name of a folder; found nothing")
    try:
        config = RunConfig.model_validate(nest(values))
    except ValidationError as error:
        raise ConfigError(_explain(error, origins)) from error
    return Settings(Path(store), config, origins)


_Source = dict[str, tuple[object, str]]
"""From dotted name to value and origin."""


def _from_flags(flags: Mapping[str, object]) -> _Source:
    return {name: (value, flag_of(name)) for name, value in flags.items() if value is not None}


def _from_environment(variables: Mapping[str, str]) -> _Source:
    known = {variable_of(name): name for name in texts()}
    found: _Source = {}
    for variable, value in sorted(variables.items()):
        if not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
            continue
        if variable not in known:
            raise ConfigError(
                f"environment variable {variable} is unknown{_nearest(variable, [*known, FILE_VARIABLE])}; unset or "
                "rename it (`anoclust config show` lists every setting)"
            )
        found[known[variable]] = (value, variable)
    return found


def _from_file(file: Path | None, variables: Mapping[str, str]) -> _Source:
    path = file or Path(variables.get(FILE_VARIABLE) or FILE_NAME)
    named = file is not None or bool(variables.get(FILE_VARIABLE))
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            raise ConfigError(f"there is no configuration file {path}; `anoclust config init` writes one") from None
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
    known = texts()
    sections = {name.partition(".")[0] for name in known if "." in name}
    found: _Source = {}
    for section in sections & content.keys():
        if not isinstance(content[section], dict):
            raise ConfigError(f"{path}: {section} is a section, [{section}], not a value; found {content[section]!r}")
    for name, value in flatten(content).items():
        if name not in known:
            raise ConfigError(f"{path}: unknown setting {name}{_nearest(name, known)}")
        found[name] = (_beside(path, name, value), str(path))
    return found


def _beside(file: Path, name: str, value: object) -> object:
    """Let a relative path in a file start at the file's folder."""
    if name not in _PATHS or not isinstance(value, str) or not value or value in _PATHS[name]:
        return value
    return str(file.parent / value)


def _nearest(name: str, known: Mapping[str, str] | list[str]) -> str:
    """Give the known name that is most like the one that was written."""
    exact = [candidate for candidate in known if candidate.rpartition(".")[2] == name.rpartition(".")[2]]
    close = exact or get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    """Say in one line what the first wrong setting is, where it came from, and what it may be."""
    problem = error.errors()[0]
    name = _known_name(problem["loc"])
    origin = origins.get(name, name)
    where = origin if origin.startswith("--") else f"{name} from {origin}"
    message = problem["msg"].removeprefix("Value error, ")
    found = problem["input"]
    expected = str(problem.get("ctx", {}).get("expected", ""))
    hint = (
        _nearest(str(found), [word.strip("' ") for word in expected.replace(" or ", ",").split(",")])
        if expected
        else ""
    )
    said = "" if "found" in message else f"; found {found!r}"
    return f"{where}: {message[:1].lower()}{message[1:]}{said}{hint}"


def _known_name(location: tuple[int | str, ...]) -> str:
    """Dotted name of a setting from where pydantic found the problem."""
    known = texts()
    parts = [str(part) for part in location]
    return next((name for name in (".".join(parts[:2]), parts[0]) if name in known), ".".join(parts))


def _flat(config: RunConfig) -> dict[str, Any]:
    return flatten(config.model_dump())


def commented_file() -> str:
    """Text of a configuration file with every setting, its meaning and its default, all commented out."""
    lines = [
        "# Settings of Anoclust. Flags beat ANOCLUST_* environment variables, which beat this file.",
        "# Relative paths start at this file's folder. Uncomment what you change.",
        "",
    ]
    section = ""
    for name, value in sorted(defaults().items(), key=lambda item: "." in item[0]):
        new_section, _, key = name.rpartition(".")
        if new_section != section:
            section = new_section
            lines += [f"[{section}]", ""]
        lines += [f"# {line}" for line in _wrap(texts()[name])]
        lines += [f"# {key} = {_toml(value)}", ""]
    return "\n".join(lines)


def _wrap(text: str) -> list[str]:
    from textwrap import wrap

    return wrap(text, 110)


def _toml(value: object) -> str:
    import json

    return json.dumps(value)  # strings and numbers are written alike in both
