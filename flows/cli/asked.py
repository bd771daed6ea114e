"""Flags of a command that come from the settings: one for every setting whose field names the command."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

import typer

from anoclust_core.config import RunConfig
from anoclust_core.config.setting import Command, flatten
from anoclust_core.errors import ConfigError
from flows.cli.options import ConfigFile, Debug
from flows.settings import SETTINGS, Settings, as_text, flag_of, resolve

_OF_DETECTORS: Final = ("detector.input_size", "detector.input_values", "detector.map_output")
_REFERENCE: Final = "pair.reference"
"""Flags that mean something with some weights only."""


@dataclass(frozen=True)
class Asked:
    """What a command line says about settings.

    Attributes
    ----------
    flags
        By dotted name; None where a flag was not given.
    file
        The file that ``--config`` names.
    debug
        Show Prefect's log and tracebacks.
    """

    flags: Mapping[str, object]
    file: Path | None
    debug: bool

    def settings(self, overrides: Mapping[str, object] | None = None) -> Settings:
        """Settings of the command, see `resolve`.

        Raises
        ------
        ConfigError
            As `resolve`; or if a flag has no meaning for what is asked for.
        """
        found = resolve(self.flags, file=self.file, overrides=overrides)
        _refuse_idle([name for name, value in self.flags.items() if value is not None], found.config)
        return found


def _refuse_idle(given: Collection[str], config: RunConfig) -> None:
    """Refuse flags that no category has a use for.

    What a file or a variable says holds for other commands too, and for categories that this one has not.
    """
    every = (config, *config.own.values())
    values = flatten(config.model_dump(include={"detector", "pair"}))
    for name in (*_OF_DETECTORS, _REFERENCE):
        if name not in given or values[name] == SETTINGS[name].default:
            continue
        if name in _OF_DETECTORS and not any(one.weigh.detector for one in every):
            raise ConfigError(
                f"{flag_of(name)} says how the model of --weights detector:FILE is taken; omit it, or give such weights"
            )
        if name == _REFERENCE and not any(_compares(one) for one in every):
            is_blind = config.recipe == "blind"
            what, instead = (
                ("recipe blind compares", "recipe") if is_blind else ("weights by maps compare", "--weights")
            )
            raise ConfigError(f"{what} no images; omit {flag_of(name)}, or use another {instead}")


def _compares(config: RunConfig) -> bool:
    """Whether rarity is measured against other images."""
    return config.recipe != "blind" and not config.weigh.maps and not config.weigh.detector


def with_settings(command: Command = "every") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put the flags of a command into its signature.

    The function's parameter of type `Asked` becomes a flag for every setting that the command offers, and ``--config``
    and ``--debug`` at the end. A parameter whose type is a dataclass becomes one for each field.
    """
    names = {name.rpartition(".")[2]: name for name, one in SETTINGS.items() if {"every", command} & set(one.commands)}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters
        bundles: dict[str, Any] = {
            name: one.annotation for name, one in own.items() if dataclasses.is_dataclass(one.annotation)
        }
        parameters = [
            *(part for one in own.values() for part in _parts(one, names)),
            _flag("config", ConfigFile, None),
            _flag("debug", Debug, False),
        ]

        @functools.wraps(function)
        def wrapper(**given: Any) -> None:
            flags = {name: given.pop(key) for key, name in names.items()}
            bundled: dict[str, object] = {}
            for name, kind in bundles.items():
                if kind is Asked:
                    bundled[name] = Asked(flags, given.pop("config"), given.pop("debug"))
                else:
                    bundled[name] = kind(**{part.name: given.pop(part.name) for part in dataclasses.fields(kind)})
            function(**bundled, **given)

        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {one.name: one.annotation for one in parameters}
        return wrapper

    return decorate


def _parts(parameter: Parameter, names: Mapping[str, str]) -> Iterator[Parameter]:
    """Parameters that stand for one of the function's own."""
    kind = parameter.annotation
    if kind is Asked:
        for key, name in names.items():
            yield _flag(key, Annotated[str | None, _option(name)], None)
    elif dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        for part in dataclasses.fields(kind):
            default = Parameter.empty if part.default is dataclasses.MISSING else part.default
            yield _flag(part.name, hints[part.name], default)
    else:
        yield parameter.replace(kind=Parameter.KEYWORD_ONLY)


def _flag(name: str, annotation: object, default: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _option(name: str) -> Any:
    """Flag of a setting; if it is not given, the environment, the file or the default decides."""
    setting = SETTINGS[name]
    default = as_text(name, setting.default)
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return typer.Option(
        flag_of(name),
        help=setting.help,
        metavar="<folder>" if setting.is_path and not setting.words else None,
        show_default=shown.replace("[", "").replace("]", ""),
        rich_help_panel=setting.heading or None,
    )
