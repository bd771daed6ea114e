"""The report of a night as one HTML page that needs nothing but itself; new clusters come first."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from anoclust_core.reporting.figures import rarity_overlay_png, rarity_scale, to_svg
from anoclust_core.reporting.html import data_uri, environment, read_style
from anoclust_core.reporting.record import Picture
from anoclust_core.reporting.summary import cluster_colour

UNKNOWN = "unknown"

_TILE_SIDE = 132
_UNKNOWN_COLOUR = "#8d96a5"


@dataclass(frozen=True)
class NightImage:
    """One image of the night; ``cluster`` None is unknown."""

    path: str
    sha256: str
    cluster: str | None
    distance: float
    confidence: float


@dataclass(frozen=True)
class Comparison:
    """One figure of tonight against the past.

    Attributes
    ----------
    tonight, last_night
        Counts; ``last_night`` None where there was none.
    per_night
        Mean over the nights of the last 30 days that had images; None where there were none.
    limit
        From which on it is an alarm; None where the history is too short.
    alarm
        Whether it is.
    """

    tonight: float
    last_night: float | None = None
    per_night: float | None = None
    limit: float | None = None
    alarm: bool = False


@dataclass(frozen=True)
class NightCluster:
    """One cluster as the report shows it; ``is_new`` where it was born tonight."""

    cluster: str
    name: str | None
    state: str
    born: date
    is_new: bool
    n_images: int
    counts: Comparison
    images: Sequence[NightImage] = ()


@dataclass(frozen=True)
class NightReport:
    """One night of one category.

    Attributes
    ----------
    category, night, created_at
        Which one, and when the report was made (UTC, ISO 8601).
    counters
        What was counted.
    clusters
        In the order that they are shown, the new ones first.
    unknown
        Counts of images without a cluster.
    unknown_images
        Tonight's.
    rarity
        Shift of the median rarity in embedding units, or None where it was not measured.
    pictures
        By sha256; an image without one is listed by name only.
    nights, series
        Nights of the plot, and by cluster the images of each; `UNKNOWN` is one of them.
    reclustered
        Why everything was re-clustered, or None.
    changes
        What that did to clusters.
    quarantine, deferred
        ``(path, reason)`` of files that could not be used, and of those left to the next night.
    notes
        Sentences that a reader must not miss.
    """

    category: str
    night: date
    created_at: str
    counters: Mapping[str, float]
    clusters: Sequence[NightCluster]
    unknown: Comparison
    unknown_images: Sequence[NightImage]
    rarity: Comparison | None
    pictures: Mapping[str, Picture]
    nights: Sequence[date]
    series: Mapping[str, Sequence[int]]
    reclustered: str | None = None
    changes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    quarantine: Sequence[tuple[str, str]] = ()
    deferred: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Tile:
    image: NightImage
    photo: Markup | None
    heat: Markup | None
    width: int
    height: int


def render_night(report: NightReport, *, max_drawn: int = 12) -> str:
    """Render a night as a self-contained HTML page.

    The page makes no request, which its Content-Security-Policy enforces, and has no script. Every name is escaped.

    Parameters
    ----------
    report
        What to show.
    max_drawn
        Most pictures of a cluster; every image is listed in any case.
    """
    scale = rarity_scale(picture.rarity for picture in report.pictures.values())
    tiles = {
        cluster.cluster: [_tile(image, report.pictures, scale) for image in cluster.images[:max_drawn]]
        for cluster in report.clusters
    }
    return (
        environment()
        .get_template("night.html.jinja")
        .render(
            report=report,
            tiles=tiles,
            unknown_tiles=[_tile(image, report.pictures, scale) for image in report.unknown_images[:max_drawn]],
            colours={cluster.cluster: _colour(cluster.cluster) for cluster in report.clusters},
            plot=Markup(counts_svg(report.nights, report.series)) if len(report.nights) > 1 else None,  # noqa: S704
            css=Markup(read_style()),  # noqa: S704 - a file of this package
        )
    )


def counts_svg(nights: Sequence[date], series: Mapping[str, Sequence[int]]) -> str:
    """Images of each cluster, night by night, as one line each in the colour of the cluster.

    Parameters
    ----------
    nights
        In order.
    series
        By cluster its number of images in each night; `UNKNOWN` is drawn in grey.

    Returns
    -------
    svg
        An ``<svg>`` element; text and axes are in ``currentColor``. Same input, same text.
    """
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    days = [(night - nights[0]).days for night in nights]
    for name, counts in series.items():
        style = "--" if name == UNKNOWN else "-"
        axes.plot(days, list(counts), style, color=_colour(name), linewidth=1.8, marker="o", markersize=3)
        axes.text(days[-1], counts[-1], f" {name}", color=_colour(name), fontsize=9, va="center")
    step = max(1, len(days) // 8)
    axes.set_xticks(days[::step], labels=[f"{night:%d %b}" for night in nights[::step]])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("images")
    return to_svg(figure, name="counts", title=f"Images of each cluster in {len(nights)} nights")


def _colour(name: str) -> str:
    number = name[1:]
    return cluster_colour(int(number) - 1) if name.startswith("c") and number.isdecimal() else _UNKNOWN_COLOUR


def _tile(image: NightImage, pictures: Mapping[str, Picture], scale: tuple[float, float]) -> _Tile:
    picture = pictures.get(image.sha256)
    if picture is None:
        return _Tile(image, None, None, _TILE_SIDE, _TILE_SIDE)
    with Image.open(io.BytesIO(picture.thumbnail)) as photo:
        zoom = _TILE_SIDE / max(photo.size)
        width, height = (max(1, round(side * zoom)) for side in photo.size)
    heat = None
    if picture.rarity.size:
        heat = data_uri("image/png", rarity_overlay_png(picture.rarity, vmin=scale[0], vmax=scale[1]))
    return _Tile(image, data_uri("image/jpeg", picture.thumbnail), heat, width, height)
