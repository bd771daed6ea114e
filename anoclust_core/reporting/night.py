"""The report of a night as one HTML page that needs nothing but itself; new clusters come first."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from anoclust_core.reporting.agenda import agenda
from anoclust_core.reporting.figures import rarity_overlay_png, shared_scale, to_svg
from anoclust_core.reporting.html import DrawnZoom, data_uri, draw_zoom, environment, read_style
from anoclust_core.reporting.night_record import UNKNOWN, NightImage, NightReport, NightView
from anoclust_core.reporting.record import Picture
from anoclust_core.reporting.summary import identity_colour

MOST_DATES: Final = 9
"""Dates below a chart: more would overlap."""

MOST_NAMES: Final = 14
"""Names that fit above each other beside a chart."""

MOST_LINES: Final = 12
"""Clusters with a line of their own in a chart; there is room for the unknown images and the others besides."""

OTHERS: Final = "others"
"""Stands for the clusters without a line of their own, all together."""

_TILE_SIDE = 132


@dataclass(frozen=True)
class _Tile:
    image: NightImage
    photo: Markup | None
    heat: Markup | None
    width: int
    height: int
    zoom: DrawnZoom | None = None
    views: tuple[_View, ...] = ()


@dataclass(frozen=True)
class _View:
    entry: NightView
    photo: Markup | None
    heat: Markup | None


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
    scale = shared_scale(report.pictures)
    tiles = {
        cluster.cluster: [
            _tile(image, report.pictures, scale) for image in (cluster.images or cluster.earlier)[:max_drawn]
        ]
        for cluster in report.clusters
    }
    todo = agenda(report)
    lines, n_others = chart_lines(report.series)
    return (
        environment()
        .get_template("night.html.jinja")
        .render(
            report=report,
            todo=todo,
            tiles=tiles,
            gone=[
                (
                    one,
                    [_tile(image, report.pictures, scale) for image in one.images],
                    [_tile(image, report.pictures, scale) for image in one.of_into],
                )
                for one in report.gone
            ],
            unknown_tiles=[_tile(image, report.pictures, scale) for image in report.unknown_images[:max_drawn]],
            zoomed=any(picture.zoom is not None for picture in report.pictures.values()),
            colours={cluster.cluster: identity_colour(cluster.cluster) for cluster in report.clusters},
            plot=Markup(counts_svg(report.nights, lines, unit=report.unit)) if len(report.nights) > 1 else None,  # noqa: S704
            n_others=n_others,
            css=Markup(read_style()),  # noqa: S704 - a file of this package
        )
    )


def chart_lines(series: Mapping[str, Sequence[int]]) -> tuple[dict[str, Sequence[int]], int]:
    """Choose the lines of a chart: as many clusters as can be told apart, and the sum of the others.

    Parameters
    ----------
    series
        By cluster its number of images in each night, those to be looked at first; `UNKNOWN` may be anywhere.

    Returns
    -------
    lines
        At most `MOST_LINES` clusters or one fewer and `OTHERS`, and `UNKNOWN` where it was given.
    n_others
        Clusters that `OTHERS` sums up, 0 where every cluster has its line.

    Examples
    --------
    >>> lines, n_others = chart_lines({f"c{at}": [at] for at in range(1, 15)} | {"unknown": [7]})
    >>> list(lines)[-3:], lines["others"], n_others
    (['c11', 'others', 'unknown'], [39], 3)
    """
    names = [name for name in series if name != UNKNOWN]
    named = names if len(names) <= MOST_LINES else names[: MOST_LINES - 1]
    rest = [series[name] for name in names[len(named) :]]
    lines = {name: series[name] for name in named}
    if rest:
        lines[OTHERS] = [sum(counts) for counts in zip(*rest, strict=True)]
    if UNKNOWN in series:
        lines[UNKNOWN] = series[UNKNOWN]
    return lines, len(rest)


def counts_svg(nights: Sequence[date], series: Mapping[str, Sequence[int]], *, unit: str = "image") -> str:
    """Images of each cluster, night by night, as one line each in the colour of the cluster.

    Parameters
    ----------
    nights
        In order.
    series
        By cluster its number of images in each night, at most `MOST_NAMES` of them; `UNKNOWN` and `OTHERS` are grey.
    unit
        What is counted, ``image`` or ``part``.

    Returns
    -------
    svg
        An ``<svg>`` element; text and axes are in ``currentColor``. Same input, same text.
    """
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    days = [(night - nights[0]).days for night in nights]
    for name, counts in series.items():
        style = {UNKNOWN: "--", OTHERS: ":"}.get(name, "-")
        axes.plot(days, list(counts), style, color=identity_colour(name), linewidth=1.8, marker="o", markersize=3)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"{unit}s")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _label_lines(axes, days[-1], {name: counts[-1] for name, counts in series.items()})
    # as many dates as fit beside each other, the last night always among them
    step = max(1, -(-(days[-1] + 1) // MOST_DATES))
    shown = range(days[-1], -1, -step)
    axes.set_xticks(list(shown), labels=[f"{nights[0] + timedelta(days=at):%d %b}" for at in shown])
    return to_svg(figure, name="counts", title=f"{unit.capitalize()}s of each cluster in {len(nights)} nights")


def _label_lines(axes: Axes, at: int, ends: Mapping[str, int]) -> None:
    """Write the names of lines behind their ends, each above the one below it, none above the chart."""
    top = axes.get_ylim()[1]
    gap = top / MOST_NAMES
    names = sorted(ends, key=lambda name: (ends[name], name))
    places: list[float] = []
    for name in names:
        places.append(max(float(ends[name]), places[-1] + gap if places else 0.0))
    for number, (name, place) in enumerate(zip(names, places, strict=True), start=1):
        axes.annotate(
            name,
            (at, min(place, top - gap * (len(names) - number))),
            xytext=(6, 0),
            textcoords="offset points",
            color=identity_colour(name),
            fontsize=9,
            va="center",
            annotation_clip=False,
        )


def _tile(image: NightImage, pictures: Mapping[str, Picture], scale: tuple[float, float]) -> _Tile:
    picture = pictures.get(image.sha256)
    views = tuple(_View(view, *_drawn(pictures.get(view.sha256), scale)) for view in image.views)
    if picture is None:
        return _Tile(image, None, None, _TILE_SIDE, _TILE_SIDE, views=views)
    with Image.open(io.BytesIO(picture.thumbnail)) as photo:
        zoom = _TILE_SIDE / max(photo.size)
        width, height = (max(1, round(side * zoom)) for side in photo.size)
    return _Tile(image, *_drawn(picture, scale), width, height, draw_zoom(picture), views)


def _drawn(picture: Picture | None, scale: tuple[float, float]) -> tuple[Markup | None, Markup | None]:
    """Photograph and heat of a picture, where there are."""
    if picture is None:
        return None, None
    heat = None
    if picture.rarity.size:
        heat = data_uri("image/png", rarity_overlay_png(picture.rarity, vmin=scale[0], vmax=scale[1]))
    return data_uri("image/jpeg", picture.thumbnail), heat
