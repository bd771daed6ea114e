"""Settings from flags > ``ANOCLUST_*`` environment > ``anoclust.toml`` > defaults, each with where it came from."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from textwrap import wrap
from types import MappingProxyType
from typing import Final

from pydantic import ValidationError

from anoclust_core.config import RunConfig, StoreConfig
from anoclust_core.config.setting import flatten, nest, settings_of
from anoclust_core.errors import ConfigError
from anoclust_core.safe_text.masking import HIDDEN, has_secret, masked, masked_text
from tasks.compute.kept_code import VARIABLE as CACHE_VARIABLE
from tasks.stores.addresses import on_this_machine, path_of_url, shown_address, why_no_path, with_home

FILE_NAME: Final = "anoclust.toml"
"""Read from the current folder where no other file is named."""

PREFIX: Final = "ANOCLUST_"
FILE_VARIABLE: Final = f"{PREFIX}CONFIG"
"""Names another file."""

PASSWORD_VARIABLE: Final = f"{PREFIX}REVIEW__PASSWORD"
"""Holds the password of the review page: no setting, for files are shared and flags are seen by everybody."""

SETTINGS: Final = MappingProxyType(settings_of(StoreConfig, RunConfig))
"""Every setting by dotted name, as its field tells it."""

CATEGORY: Final = "category"
"""First part of the names of settings of one category: ``[category.bottle.embed]`` in a file."""

FOR_ALL: Final = ("store", "wait_seconds", "data.settle_seconds", "night.")
"""Settings, and the section, that hold for all categories of a command at once."""

STORE: Final = "store"
DEFAULT: Final = "default"

_WIDTH: Final = 110

_ALIKE: Final = 0.6
"""Similarity, from 0 to 1, from which on one name is offered for another."""


@dataclass(frozen=True)
class Settings:
    """Settings of a command: folder of the store, everything else, validated, and where each value came from.

    ``origins`` has ``default``, the file, the environment variable or the flag, by dotted name. ``own`` has the same by
    category, for what is set for that category alone; the values are in ``config.of(category)``.
    """

    store: Path
    config: RunConfig
    origins: Mapping[str, str]
    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def values(self) -> dict[str, str | int | float]:
        """Every value by dotted name, as a file or variable would write it, but for passwords."""
        return {STORE: str(self.store), **{name: as_text(name, value) for name, value in _flat(self.config).items()}}

    def own_values(self) -> dict[str, tuple[str | int | float, str]]:
        """What is set for single categories: value and origin by name, such as ``category.bottle.embed.tiles``."""
        return {
            f"{CATEGORY}.{category}.{name}": (as_text(name, _flat(self.config.of(category))[name]), origin)
            for category, origins in self.own.items()
            for name, origin in origins.items()
        }

    def secrets(self) -> dict[str, str]:
        """Values that hold a password, with it, by dotted name."""
        values = {name: value for name, value in _flat(self.config).items() if SETTINGS[name].is_secret}
        return {name: str(value) for name, value in values.items() if value is not None and has_secret(str(value))}


def defaults() -> dict[str, str | int | float]:
    """Every setting's default, as a file would write it."""
    return {name: as_text(name, one.default) for name, one in SETTINGS.items()}


def as_text(name: str, value: object) -> str | int | float:
    """Write a value the way that files and variables take it.

    Examples
    --------
    >>> as_text("embed.checkpoint", None), as_text("embed.layers", (2, 3)), as_text("memory", 3 << 30)
    ('none', '2,3', '3GiB')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return str(SETTINGS[name].nothing)
    if SETTINGS[name].is_secret:
        return masked(str(value))
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    if SETTINGS[name].is_size:
        size = int(str(value))
        unit, power = next(
            (unit, p) for unit, p in (("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)) if size % (1 << p) == 0
        )
        return f"{size >> power}{unit}"
    return value if isinstance(value, (int, float)) else str(value)


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
    of_flags, own_flags = _by_category(flags or {})
    of_file, own_file = _from_file(file, variables)
    above = [_from_environment(variables), _from_flags(of_flags)]
    values, origins = _merged([of_file, *above], overrides or {})
    try:
        store = StoreConfig.model_validate({STORE: values.pop(STORE)} if STORE in values else {}).store
    except ValidationError as error:
        raise ConfigError(_explain(error, origins)) from error
    if store.is_file():
        raise ConfigError(f"{_takes(STORE, str(store), origins)}, which is a file")
    config = _validated(values, origins)
    own, own_origins = {}, {}
    for category in sorted({*own_file, *own_flags}):
        of_category = own_file.get(category, {})
        sources = [of_file, of_category, *above, _from_flags(own_flags.get(category, {}))]
        values, all_origins = _merged(sources, overrides or {})
        values.pop(STORE, None)
        own[category] = _validated(values, all_origins)
        own_origins[category] = {
            name: all_origins[name] for name in SETTINGS if name in {*of_category, *own_flags.get(category, {})}
        }
    return Settings(store, config.with_own(own) if own else config, origins, own_origins)


def _merged(sources: Iterable[_Source], overrides: Mapping[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """Values of sources, the last of which counts, and where each came from."""
    values = dict(overrides)
    origins = dict.fromkeys(SETTINGS, DEFAULT)
    for source in sources:
        for name, (value, origin) in source.items():
            values[name] = _on_this_machine(name, _home_expanded(name, value), origin)
            origins[name] = origin
    for name, value in values.items():
        if value == "" or (isinstance(value, bool) and not SETTINGS[name].is_switch):
            raise ConfigError(_takes(name, value, origins))
    return values, origins


def _validated(values: Mapping[str, object], origins: Mapping[str, str]) -> RunConfig:
    try:
        return RunConfig.model_validate(nest(values))
    except ValidationError as error:
        raise ConfigError(_explain(error, origins)) from error


def _by_category(given: Mapping[str, object]) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    """Part what is given for all categories from what is given for one, as a deployment keeps it."""
    for_all: dict[str, object] = {}
    own: dict[str, dict[str, object]] = {}
    for name, value in given.items():
        if name.startswith(f"{CATEGORY}."):
            setting = own_setting(name)
            own.setdefault(name[len(CATEGORY) + 1 : -len(setting) - 1], {})[setting] = value
        else:
            for_all[name] = value
    return for_all, own


def own_setting(name: str) -> str:
    """Setting that a name sets for one category.

    Examples
    --------
    >>> own_setting("category.metal.nut.embed.tiles")
    'embed.tiles'
    """
    return max((one for one in SETTINGS if name.endswith(f".{one}")), key=len)


def with_secrets(given: Mapping[str, object], environment: Mapping[str, str] | None = None) -> dict[str, object]:
    """Settings as a deployment keeps them, less what it only shows: that is left to the variable of this process.

    Raises
    ------
    ConfigError
        If there is no such variable: without it another catalog would be begun.
    """
    variables = os.environ if environment is None else environment
    secret = [name for name, one in SETTINGS.items() if one.is_secret]
    shown = {name: value for name, value in given.items() if name in secret and HIDDEN in str(value)}
    for name, value in shown.items():
        if not variables.get(variable_of(name)):
            raise ConfigError(
                f"this deployment's {name.rpartition('.')[2]} is {value}, and its password is not kept in the "
                f"deployment; start the worker with the variable {variable_of(name)} set to the full URL"
            )
    return {name: value for name, value in given.items() if name not in shown}


# pydantic-settings reads such sources too, but does not tell which one a value came from, and takes 0.07 s to import
_Source = dict[str, tuple[object, str]]
"""From dotted name to value and origin."""


def _from_flags(flags: Mapping[str, object]) -> _Source:
    return {name: (value, flag_of(name)) for name, value in flags.items() if value is not None}


def _from_environment(variables: Mapping[str, str]) -> _Source:
    known = {variable_of(name): name for name in SETTINGS}
    found: _Source = {}
    for variable, value in sorted(variables.items()):
        if not variable.startswith(PREFIX) or variable in {FILE_VARIABLE, PASSWORD_VARIABLE, CACHE_VARIABLE}:
            continue
        if variable not in known:
            raise ConfigError(
                f"environment variable {variable} is unknown"
                f"{_nearest(variable, [*known, FILE_VARIABLE, CACHE_VARIABLE])}; rename or unset it "
                "(`anoclust config show` lists every setting)"
            )
        found[known[variable]] = (value, variable)
    return found


def _from_file(file: Path | None, variables: Mapping[str, str]) -> tuple[_Source, dict[str, _Source]]:
    """What a file sets for all categories, and for single ones."""
    named = file or (with_home(variables[FILE_VARIABLE]) if variables.get(FILE_VARIABLE) else None)
    if named:
        named = on_this_machine(named, "--config" if file else FILE_VARIABLE, ConfigError)
    path = named or Path(FILE_NAME)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        if named:
            raise ConfigError(f"there is no configuration file {path}; `anoclust config init` writes one") from None
        return {}, {}
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read as TOML: {error}; correct it, or compare it with what `anoclust config init` writes"
        ) from error
    own = content.pop(CATEGORY, {})
    if not isinstance(own, dict) or not all(isinstance(one, dict) for one in own.values()):
        raise ConfigError(
            f"{path}: {CATEGORY} takes sections of single categories, such as [{CATEGORY}.NAME.embed]; found "
            f"{masked_text(repr(own))}"
        )
    _check_names(path, content)
    for name, one in own.items():
        _check_names(path, one, category=name)
    sections = {name: _source(path, one, f"{path} [{CATEGORY}.{name}]") for name, one in own.items()}
    return _source(path, content, str(path)), sections


def _source(path: Path, content: Mapping[str, object], origin: str) -> _Source:
    return {name: (_beside(path, name, value), origin) for name, value in flatten(content).items()}


def _check_names(path: Path, content: Mapping[str, object], *, category: str = "") -> None:
    """Refuse names that do not exist, be they settings or sections, and one that stands for the other."""
    sections = {name.partition(".")[0] for name in SETTINGS if "." in name}
    hint = "`anoclust config show` lists every setting"
    inside = f"{CATEGORY}.{category}." if category else ""
    for name, value in content.items():
        if name in sections and not isinstance(value, dict):
            raise ConfigError(
                f"{path}: {inside}{name} is a section, [{inside}{name}], not a value; found "
                f"{masked_text(repr(value))}; {hint}"
            )
        if name in SETTINGS and isinstance(value, dict):
            raise ConfigError(f"{path}: {inside}{name} is a value, not a section; it takes {SETTINGS[name].takes}")
        if isinstance(value, dict) and name not in sections:
            raise ConfigError(f"{path}: unknown section [{inside}{name}]{_nearest(name, sections)}; {hint}")
    for name in flatten(content):
        if name not in SETTINGS:
            raise ConfigError(f"{path}: unknown setting {inside}{name}{_nearest(name, SETTINGS)}; {hint}")
        if category and name.startswith(FOR_ALL):
            raise ConfigError(
                f"{path}: {inside}{name}: {name} holds for all categories of a command at once; set it outside of "
                f"[{CATEGORY}.{category}]"
            )


def _beside(file: Path, name: str, value: object) -> object:
    """Let a relative path in a file start at the file's folder."""
    found = SETTINGS[name].path_in(value)
    if found is None or path_of_url(found[1]) or why_no_path(found[1]):
        return value
    word, path = found
    return f"{word}{file.parent / with_home(path)}"


def _on_this_machine(name: str, value: object, origin: str) -> object:
    """Path that a setting means; an address that is none is refused.

    Raises
    ------
    ConfigError
        If it is one; the message says what it is and what to do.
    """
    found = SETTINGS[name].path_in(value)
    if found is None:
        return value
    word, path = found
    url = path_of_url(path)
    why = why_no_path(path)
    if os.path.lexists(path) or (url is None and why is None):
        return value
    if why is None:
        return f"{word}{url}"
    raise ConfigError(f"{_takes(name, word + shown_address(path), {name: origin})}, which {why}")


def _home_expanded(name: str, value: object) -> object:
    """Read ``~`` in a path: no shell does it for files and variables."""
    word, path = SETTINGS[name].path_in(value) or ("", "")
    return f"{word}{with_home(path)}" if path.startswith("~") else value


def _nearest(name: str, known: Iterable[str]) -> str:
    """Offer the known name that is most like the one that was written, in whole or by its last part."""

    def likeness(candidate: str) -> float:
        last, candidates_last = (re.split(r"\.|__", text.lower())[-1] for text in (name, candidate))
        return max(
            SequenceMatcher(None, name.lower(), candidate.lower()).ratio(),
            SequenceMatcher(None, last, candidates_last).ratio(),
        )

    best = max(sorted(known), key=likeness)
    return f" (did you mean {best}?)" if likeness(best) >= _ALIKE else ""


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    """Say what the first wrong setting is, where it came from, what it takes and what was found."""
    contradictions = [problem["msg"].removeprefix("Value error, ") for problem in error.errors() if not problem["loc"]]
    if contradictions:
        return contradictions[0]
    problems = {_known_name(problem["loc"]): problem["input"] for problem in reversed(error.errors())}
    *others, (name, found) = problems.items()
    more = f" (also wrong: {', '.join(other for other, _ in others)})" if others else ""
    return _takes(name, found, origins) + more


def _takes(name: str, found: object, origins: Mapping[str, str]) -> str:
    """Say what a setting takes, and what was found."""
    origin = origins[name]
    where = origin if origin.startswith(("--", PREFIX)) else f"{origin}: {name}"
    values = SETTINGS[name].takes
    words = [word for word in re.split(r", | or ", values) if " " not in word]
    close = get_close_matches(str(found), words, n=1, cutoff=_ALIKE)
    hint = f" (did you mean {close[0]}?)" if close else ""
    shown = HIDDEN if SETTINGS[name].is_secret else masked_text(repr(found))
    return f"{where} takes {values}; found {shown}{hint}"


def _known_name(location: tuple[int | str, ...]) -> str:
    """Dotted name of a setting from where pydantic found the problem."""
    parts = [str(part) for part in location]
    return next(name for name in (".".join(parts[:2]), parts[0]) if name in SETTINGS)


def _flat(config: RunConfig) -> dict[str, object]:
    return flatten(config.model_dump())


def commented_file() -> str:
    """Text of a configuration file with every setting, its meaning and its default, all commented out."""
    lines = [
        "# Settings of Anoclust. Flags override ANOCLUST_* environment variables, which override this file.",
        "# Relative paths start at this file's folder. Uncomment what you want to change.",
        "# A section [category.NAME] or [category.NAME.embed] sets the same for one category alone.",
        "",
    ]
    section = ""
    for name, value in sorted(defaults().items(), key=lambda item: "." in item[0]):
        new_section, _, key = name.rpartition(".")
        if new_section != section:
            section = new_section
            lines += [f"[{section}]", ""]
        lines += [f"# {line}" for line in wrap(SETTINGS[name].help, _WIDTH)]
        # strings and numbers are written alike in JSON and TOML
        lines += [f"# {key} = {json.dumps(value)}", ""]
    return "\n".join(lines)
