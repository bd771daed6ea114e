"""What a setting is: what its field in a model says about it, and how its value is read and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, Field
from pydantic.fields import FieldInfo

from anoclust_core.embedding.deep_images import parse_range
from anoclust_core.errors import ConfigError
from anoclust_core.matching import part_names
from anoclust_core.matching.night_dates import zone_of

Command = Literal[
    "every",
    "run",
    "check",
    "nightly",
    "backfill",
    "status",
    "benchmark",
    "up",
    "deploy apply",
    "detector train",
    "store gc",
    "store rebuild-catalog",
]
"""A command that has flags for settings; ``every`` stands for all that have any."""


MAX_TILES: Final = 128
"""Tiles of a frame where every patch is compared with every other one: that takes the square of their number, 16,384
times as long as without tiles."""

MOST_TILES: Final = 512
"""Tiles of a frame where patches are compared near their own place only, or with a part of other frames' patches. A
pair of aligned frames still fits a block task of `anoclust_core.pairwise.tiling`; a pair of others does up to about 380
tiles of 256 patches, and what does not is refused there."""


_LEAST_SIDE, _LARGEST_SIDE = 8, 4096
"""Pixels that a side of what a detector sees may have."""


@dataclass(frozen=True)
class Setting:
    """Everything that is known of one setting.

    Attributes
    ----------
    name
        Dotted name, such as ``weigh.tau``.
    default
        Value where nothing else is said.
    help
        What it means.
    takes
        Values in words, as in "--seed takes ...".
    commands
        Commands that have a flag for it.
    heading
        Heading of its flag in a command's help; empty for the heading of all other options.
    nothing
        Word for the value None in flags, variables and files; None where there is always a value.
    is_path, words
        The value is a path, unless it is one of the words.
    path_after
        The value may be one of these words and a path.
    is_secret
        The value may hold a password.
    is_switch, is_size
        The value may be true or false; it is a number of bytes.
    """

    name: str
    default: object
    help: str
    takes: str
    commands: tuple[Command, ...]
    heading: str
    nothing: str | None
    is_path: bool
    words: tuple[str, ...]
    path_after: tuple[str, ...]
    is_secret: bool
    is_switch: bool
    is_size: bool

    def path_in(self, value: object) -> tuple[str, str] | None:
        """Path in a value, behind the word before it, which may be empty; None of a value that is no path.

        Examples
        --------
        >>> from anoclust_core.config import WeighConfig
        >>> weights = settings_of(WeighConfig)["weights"]
        >>> weights.path_in("maps:heat/a"), weights.path_in("uniform")
        (('maps:', 'heat/a'), None)
        """
        if not isinstance(value, (str, Path)) or str(value) in self.words:
            return None
        word = next((one for one in self.path_after if str(value).startswith(one)), "")
        path = str(value).removeprefix(word)
        return (word, path) if path and (word or self.is_path) else None


def setting(
    default: object,
    help: str,  # noqa: A002 - the word that flags have
    *,
    commands: tuple[Command, ...],
    takes: str = "",
    nothing: str | None = None,
    path_unless: tuple[str, ...] | None = None,
    path_after: tuple[str, ...] = (),
    is_secret: bool = False,
) -> Any:
    """Field of a model that is a setting: everything that flags, variables, files and pages say of it comes from here.

    Parameters
    ----------
    default
        Value where nothing else is said.
    help
        What it means.
    commands
        Commands that have a flag for it; variables and files set it for all.
    takes
        Values in words; may be left out where the type is a literal or bool.
    nothing
        Word for the value None.
    path_unless
        Given, the value is a path, unless it is one of these words.
    path_after
        Words that a path may follow.
    is_secret
        The value may hold a password: it is shown without.
    """
    extra: dict[str, Any] = {
        "commands": list(commands),
        "takes": takes,
        "nothing": nothing,
        "is_path": path_unless is not None,
        "words": list(path_unless or ()),
        "path_after": list(path_after),
        "is_secret": is_secret,
    }
    return Field(default, description=help, json_schema_extra=extra)


def settings_of(*models: type[BaseModel]) -> dict[str, Setting]:
    """Every setting of models and of their sections, by dotted name, in the order of the fields.

    Raises
    ------
    TypeError
        If a field says too little: it is not written with `setting`, has no word for None, or does not say what it
        takes where its type does not either.
    """
    return {found.name: found for model in models for found in _settings_of(model, "")}


def _settings_of(model: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _settings_of(kind, f"{prefix}{name}.")
            continue
        extra = extra_of(field)
        if not extra or (type(None) in get_args(kind) and extra["nothing"] is None):
            raise TypeError(f"{prefix}{name} is a setting: write it with `setting`, with a word where it may be None")
        yield Setting(
            name=prefix + name,
            default=field.default,
            help=field.description or "",
            takes=extra["takes"] or _words_for(prefix + name, kind),
            commands=tuple(extra["commands"]),
            heading=getattr(model, "heading", ""),
            nothing=extra["nothing"],
            is_path=extra["is_path"],
            words=tuple(extra["words"]),
            path_after=tuple(extra["path_after"]),
            is_secret=extra["is_secret"],
            is_switch=bool in _parts(kind),
            is_size=ByteSize in _parts(kind),
        )


def extra_of(field: FieldInfo) -> dict[str, Any]:
    """What `setting` noted of a field; nothing for a section."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _parts(kind: Any) -> Iterator[Any]:
    """Types that a type is made of."""
    yield kind
    for part in get_args(kind):
        yield from _parts(part)


def _words_for(name: str, kind: Any) -> str:
    """Values of a literal or bool in words."""
    if kind is not bool and get_origin(kind) is not Literal:
        raise TypeError(f"{name} is a setting: its type does not tell what it takes, so say it in words")
    *others, last = get_args(kind) or ("true", "false")
    return f"{', '.join(others)} or {last}"


def nest(flat: Mapping[str, object]) -> dict[str, object]:
    """Turn dotted names into sections.

    Examples
    --------
    >>> nest({"seed": 1, "weigh.tau": "0.02"})
    {'seed': 1, 'weigh': {'tau': '0.02'}}
    """
    nested: dict[str, object] = {}
    for name, value in flat.items():
        section, dot, key = name.partition(".")
        if dot:
            nested.setdefault(section, {})[key] = value  # type: ignore[index]
        else:
            nested[section] = value
    return nested


def flatten(nested: Mapping[str, object]) -> dict[str, object]:
    """Turn sections into dotted names, the inverse of `nest`.

    Examples
    --------
    >>> flatten({"seed": 1, "weigh": {"tau": "0.02"}})
    {'seed': 1, 'weigh.tau': '0.02'}
    """
    flat: dict[str, object] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{key}": inner for key, inner in flatten(value).items()})
        else:
            flat[name] = value
    return flat


def parse_tau(text: str) -> tuple[float, bool]:
    """Read a temperature: a number in embedding units, or a multiple of the rarity's standard deviation.

    Returns
    -------
    value, relative
        ``relative`` tells that ``value`` counts standard deviations of the rarity over all images and patches.

    Raises
    ------
    ConfigError
        If the text is neither, or the value is not a positive finite number.

    Examples
    --------
    >>> parse_tau("0.02"), parse_tau("0.3sd")
    ((0.02, False), (0.3, True))
    """
    match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(sd)?\s*", text)
    try:
        value = float(match.group(1)) if match else math.nan
    except ValueError:
        value = math.nan
    if match is None or not math.isfinite(value) or value <= 0:
        raise ConfigError(
            f"tau is a positive number in embedding units (0.02) or a multiple of the rarity's standard deviation "
            f"(0.3sd); found {text!r}"
        )
    return value, match.group(2) is not None


def _valid_tau(text: str) -> str:
    """Check the text and write it in one way, so that 0.30sd and 0.3sd are one run."""
    try:
        value, relative = parse_tau(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return repr(value).removesuffix(".0") + ("sd" if relative else "")


def _valid_weights(text: str) -> str:
    kind, colon, path = text.partition(":")
    if text not in ("rarity", "uniform") and not (kind in ("maps", "detector") and colon and path):
        raise ValueError("is rarity, uniform, maps:FOLDER or detector:FILE")
    return text


def _valid_device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise ValueError("is auto, cpu, cuda or cuda:INDEX")
    return text


def _valid_page(text: str) -> str:
    """Check the address of a web page's server; what would be shown of a user or a token in it is refused."""
    if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", text):
        raise ValueError("is an address such as http://quality-pc:8765, without a user or a token")
    return text.rstrip("/")


def _without_password(text: str) -> str:
    """Refuse what Dask knows nothing of and reports would show: its addresses have neither user nor parameters."""
    if re.search(r"[@?\s]", text):
        raise ValueError("is an address such as tcp://host:8786")
    return text


def _number_as_text(value: object) -> object:
    """Read the number 0.02, as a file may have it, like the text."""
    return repr(value) if isinstance(value, (int, float)) else value


def _split_layers(value: object) -> object:
    """Read ``2,3`` as ``(2, 3)`` and 2, as a file may have it, as ``(2,)``."""
    if isinstance(value, int):
        return (value,)
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ValueError("takes numbers of feature levels separated by commas (2,3), or auto")
    return tuple(int(part) for part in parts)


def _read_clusters(value: object) -> object:
    """Read ``6`` as a number, and ``2:8`` with its bounds in order."""
    found = re.fullmatch(r"\s*(\d+)\s*(?::\s*(\d+)\s*)?", str(value))
    if not found or int(found[1]) < 1 or (found[2] and int(found[2]) < int(found[1])):
        raise ValueError("takes auto, a whole number from 1, or LOW:HIGH such as 2:8")
    return f"{int(found[1])}:{int(found[2])}" if found[2] else int(found[1])


def _valid_range(text: str) -> str:
    """Check the text and write it in one way, so that 0:4095 and 0.0:4095.0 are one setting."""
    if text in ("auto", "full"):
        return text
    try:
        return ":".join(repr(value).removesuffix(".0") for value in parse_range(text))
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _read_tiles(value: object) -> object:
    """Read ``2x3``; one way to write it, so that 02x3 is the same run."""
    found = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", str(value))
    if not found or not (int(found[1]) and int(found[2])):
        raise ValueError("takes none or ROWSxCOLUMNS, whole numbers from 1, such as 2x3")
    if int(found[1]) * int(found[2]) > MOST_TILES:
        raise ValueError(
            f"asks for {int(found[1]) * int(found[2]):,} tiles; the limit is {MOST_TILES}; take fewer tiles"
        )
    return f"{int(found[1])}x{int(found[2])}"


def _read_size(value: object) -> object:
    """Read ``256x256``; one way to write it, so that 0256x256 is the same run."""
    found = re.fullmatch(r"\s*(\d{1,5})\s*[xX]\s*(\d{1,5})\s*", str(value))
    if not found or not all(_LEAST_SIDE <= int(side) <= _LARGEST_SIDE for side in found.groups()):
        raise ValueError(f"takes auto or ROWSxCOLUMNS, pixels from {_LEAST_SIDE} to {_LARGEST_SIDE:,}, such as 256x256")
    return f"{int(found[1])}x{int(found[2])}"


def _read_patches(value: object) -> object:
    """Read ``500`` as a number, and ``all`` as it is."""
    found = re.fullmatch(r"\s*(?:all|(\d+))\s*", str(value))
    if not found or (found[1] and int(found[1]) < 1):
        raise ValueError("takes auto, all, or a whole number from 1")
    return int(found[1]) if found[1] else "all"


def _split_commas(value: object) -> object:
    """Read ``path:%Y-%m-%d,exif`` as two texts."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _valid_part(text: str) -> str:
    try:
        return str(part_names.PartRule.read(text))
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _valid_zone(text: str) -> str:
    try:
        zone_of(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return text


def _valid_time(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise ValueError("is a time of day such as 06:00")
    return text


Count = Annotated[int, Field(ge=1)]
Patches = Annotated[int | str, BeforeValidator(_read_patches)]
PictureSize = Annotated[str, BeforeValidator(_read_size)]
Clusters = Annotated[int | str, BeforeValidator(_read_clusters)]
Range = Annotated[str, AfterValidator(_valid_range)]
Tiles = Annotated[str, BeforeValidator(_read_tiles)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Size = Annotated[ByteSize, Field(gt=0)]
Tau = Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_valid_tau)]
Weights = Annotated[str, AfterValidator(_valid_weights)]
Device = Annotated[str, AfterValidator(_valid_device)]
Page = Annotated[str, AfterValidator(_valid_page)]
Side = Annotated[int, Field(ge=32, le=4096)]
TileSize = Annotated[int, Field(ge=32)]
Border = Annotated[float, Field(ge=0, lt=0.5)]
Layers = Annotated[tuple[int, ...], Field(min_length=1), BeforeValidator(_split_layers)]
Address = Annotated[str, AfterValidator(_without_password)]
PartRule = Annotated[str, AfterValidator(_valid_part)]
Zone = Annotated[str, AfterValidator(_valid_zone)]
TimeOfDay = Annotated[str, AfterValidator(_valid_time)]
Names = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_split_commas)]
