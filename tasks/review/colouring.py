"""What the images on a map are coloured by: their cluster, night, label, or a column of the manifest."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from anoclust_core.matching.identities import id_order, owner_of
from anoclust_core.reporting.summary import cluster_colour, identity_colour
from tasks.stores.catalog.browsing import LABEL
from tasks.stores.catalog.facts import UNKNOWN, ImageFact

CLUSTER: Final = "cluster"
NIGHT: Final = "night"
COLUMN: Final = "column:"
"""What a colouring is asked for by: one of these words, or this and the name of a column."""

WITHOUT: Final = "without"
"""Group of the images that have no value."""

MOST_NIGHTS: Final = 12
"""Nights that have a colour of their own; of more, neighbours share one."""

_GREY: Final = identity_colour(UNKNOWN)


@dataclass(frozen=True)
class Group:
    """Images of one colour: its name in an address or form, what people read, and ``#rrggbb``."""

    name: str
    text: str
    colour: str


@dataclass(frozen=True)
class Colouring:
    """Groups, and for every image the place of its group among them."""

    groups: Sequence[Group]
    of: Sequence[int]


def by_cluster(
    contents: Sequence[str], partition: Mapping[str, str], merges: Mapping[str, str], names: Mapping[str, str | None]
) -> Colouring:
    """Colour images by lasting clusters; those without one come last.

    Parameters
    ----------
    contents
        Images.
    partition
        Cluster by content, merges not followed.
    merges
        What clusters were merged into.
    names
        What people call the clusters.
    """
    where = [owner_of(partition[content], merges) if content in partition else UNKNOWN for content in contents]
    order = sorted(set(where), key=lambda name: (name == UNKNOWN, id_order(name)))
    groups = [Group(name, " ".join(filter(None, [name, names.get(name)])), identity_colour(name)) for name in order]
    return Colouring(groups, [order.index(name) for name in where])


def by_night(contents: Sequence[str], facts: Mapping[str, ImageFact]) -> Colouring:
    """Colour images by the night they belong to, from dark (first) to light (last)."""
    nights = sorted({facts[content].night for content in contents if content in facts})
    width = -(-len(nights) // MOST_NIGHTS) or 1
    parts = [nights[start : start + width] for start in range(0, len(nights), width)]
    texts = [f"{some[0]:%d %b %Y}" + (f" – {some[-1]:%d %b %Y}" if some[1:] else "") for some in parts]
    part_of = {night: at for at, some in enumerate(parts) for night in some}
    groups = [
        Group(some[0].isoformat(), text, _ramp(at / max(1, len(parts) - 1)))
        for at, (some, text) in enumerate(zip(parts, texts, strict=True))
    ]
    return _with_rest(groups, [part_of[facts[one].night] if one in facts else None for one in contents])


def by_column(contents: Sequence[str], facts: Mapping[str, ImageFact], column: str) -> Colouring:
    """Colour images by a column of the manifest, or by `LABEL`."""
    found = [_value(facts[content], column) if content in facts else None for content in contents]
    values = sorted({value for value in found if value})
    at = {value: number for number, value in enumerate(values)}
    groups = [Group(value, value, cluster_colour(number)) for number, value in enumerate(values)]
    return _with_rest(groups, [at[value] if value else None for value in found])


def _value(fact: ImageFact, column: str) -> str | None:
    return fact.label if column == LABEL else fact.extra.get(column)


def _with_rest(groups: list[Group], of: Sequence[int | None]) -> Colouring:
    """Put the images without a group into one of their own."""
    if None in of:
        groups = [*groups, Group("", WITHOUT, _GREY)]
    return Colouring(groups, [len(groups) - 1 if one is None else one for one in of])


def _ramp(part: float) -> str:
    """Colour between blue (0) and yellow (1), lighter and lighter, on white and on black to be seen."""
    hue, lightness = 0.66 - 0.52 * part, 0.42 + 0.1 * part
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in colorsys.hls_to_rgb(hue, lightness, 0.72))
