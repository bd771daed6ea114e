"""The run report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import io
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from anoclust_core.config.setting import flatten
from anoclust_core.errors import ConfigError
from anoclust_core.records import SameReason, SetAside, by_reason
from anoclust_core.reporting.contingency import contingency, trust_sentence
from anoclust_core.reporting.figures import dendrogram_svg, descriptor_map_svg, rarity_overlay_png, shared_scale
from anoclust_core.reporting.record import ImageEntry, Picture, RunReport, ViewEntry
from anoclust_core.reporting.summary import ClusterSummary, score_bounds, summarise_clusters
from anoclust_core.wording import counted

NOT_KNOWN = "–"

_TILE_SIDE = 132  # CSS pixels of the longer side of a drawn picture
_LEGEND_STEPS = 96
# A control character in a name is written as its escape and cannot act on the page.
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | str.maketrans(
    {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
)


@dataclass(frozen=True)
class DrawnZoom:
    """A zoom on the page: its data URI, and the style that outlines its place in the photograph."""

    photo: Markup
    place: Markup


@dataclass(frozen=True)
class _Drawn:
    """One picture on the page: data URIs and the size it is drawn at, in CSS pixels."""

    entry: ImageEntry
    photo: Markup
    heat: Markup
    width: int
    height: int
    zoom: DrawnZoom | None
    views: tuple[_DrawnView, ...] = ()


@dataclass(frozen=True)
class _DrawnView:
    """Another view of a part on the page; without a picture it is named."""

    entry: ViewEntry
    photo: Markup | None
    heat: Markup | None


@dataclass(frozen=True)
class _Card:
    """One cluster on the page; ``strip`` places its five score quantiles on the run's scale, in percent."""

    cluster: ClusterSummary
    drawn: tuple[_Drawn, ...]
    strip: tuple[float, float, float, float, float] | None


@dataclass(frozen=True)
class Figures:
    """SVG of the merge tree and of the map of descriptors; None where there is nothing to draw."""

    tree: str | None
    map: str | None


def render_report(
    report: RunReport,
    *,
    figures: Figures | None = None,
    max_drawn_per_cluster: int = 24,
    max_picture_bytes: int = 2_000_000,
) -> str:
    """Render one run as a self-contained HTML page.

    The page makes no request, which its Content-Security-Policy enforces, and reads without JavaScript. Every name is
    escaped; control characters and bytes of a file name that are not UTF-8 are written as backslash escapes, so they
    cannot act and the text can always be encoded. The same record gives the same text.

    Parameters
    ----------
    report
        What to show.
    figures
        From `draw_figures`, where they are there already.
    max_drawn_per_cluster
        Most pictures drawn for one cluster, the most typical first. Every image is listed in any case.
    max_picture_bytes
        Budget for the photographs of the page, thumbnails and zooms, before base64 adds a third. Where it binds, all
        clusters are drawn with the same smaller limit; one picture per cluster is always drawn.

    Returns
    -------
    html
        The text of the page; write it as UTF-8.

    Raises
    ------
    ConfigError
        If a limit is negative.
    """
    if max_drawn_per_cluster < 0 or max_picture_bytes < 0:
        raise ConfigError(
            "max_drawn_per_cluster and max_picture_bytes must be 0 or more, "
            f"found {max_drawn_per_cluster} and {max_picture_bytes}"
        )
    figures = draw_figures(report) if figures is None else figures
    clusters = summarise_clusters(report.images)
    scale = shared_scale(report.pictures)
    limit = _drawn_limit(clusters, report.pictures, most=max_drawn_per_cluster, budget=max_picture_bytes)
    bounds = score_bounds([entry.anomaly_score for entry in report.images])
    cards = [
        _Card(
            cluster=cluster,
            drawn=tuple(
                _draw(entry, report.pictures, scale) for entry in _with_picture(cluster, report.pictures)[:limit]
            ),
            strip=_strip(cluster.score_range, low=bounds[0], high=bounds[-1]),
        )
        for cluster in clusters
    ]
    script = _read("report.js")
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            cards=cards,
            bounds=bounds,
            created=_utc(report.created_at),
            scale=scale,
            legend=_png_uri(rarity_overlay_png(np.linspace(*scale, _LEGEND_STEPS)[None], vmin=scale[0], vmax=scale[1])),
            zoomed=any(drawn.zoom is not None for card in cards for drawn in card.drawn),
            labelled=any(entry.label is not None for entry in report.images),
            contingency=contingency(report.images, [cluster.number for cluster in clusters]),
            trust=trust_sentence(report.scores, report.trivial),
            dendrogram=_markup(figures.tree),
            descriptor_map=_markup(figures.map),
            config=list(flatten(report.config).items()),
            seconds=[(name, _score(value, 1)) for name, value in report.seconds.items()],
            work=[(name, f"{count:,}") for name, count in report.work.items()],
            css=Markup(_read("report.css")),  # noqa: S704 - files of this package
            script=Markup(script),  # noqa: S704
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


@lru_cache(maxsize=4)
def environment(loader: BaseLoader | None = None) -> Environment:
    """Templates that escape every name and refuse what is not defined; by default those of the reports.

    A process compiles each of them once.
    """
    made = Environment(
        loader=loader or PackageLoader("anoclust_core", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["score"] = _score
    made.filters["percent"] = _percent
    made.filters["alike"] = _alike
    made.filters["counted"] = counted
    made.filters["as_typed"] = shlex.quote
    return made


def _alike(rows: Iterable[tuple[str, str]]) -> list[SameReason]:
    """Files that are set aside, by reason."""
    return by_reason(SetAside.from_told(path, told) for path, told in rows)


def read_style() -> str:
    """Style sheet that all pages share."""
    return _read("report.css")


def _read(name: str) -> str:
    return resources.files("anoclust_core.reporting").joinpath(name).read_text(encoding="utf-8")


def _printable(value: object) -> object:
    """Replace what must not reach the page: None, NaN and infinity, characters that act or that UTF-8 lacks."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOT_KNOWN
    if isinstance(value, str) and not isinstance(value, Markup):
        return value.translate(_VISIBLE).encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def _utc(text: str) -> dt.datetime:
    """Read an ISO 8601 time; without an offset it is UTC, never the zone of the machine."""
    moment = dt.datetime.fromisoformat(text)
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _score(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else NOT_KNOWN


def _percent(value: float) -> str:
    if not math.isfinite(value):
        return NOT_KNOWN
    return "<1 %" if 0 < value < 0.005 else f"{100 * value:.0f} %"


def _with_picture(cluster: ClusterSummary, pictures: Mapping[str, Picture]) -> list[ImageEntry]:
    return [entry for entry in cluster.entries if entry.sha256 in pictures]


def _drawn_limit(clusters: Sequence[ClusterSummary], pictures: Mapping[str, Picture], *, most: int, budget: int) -> int:
    """Largest number of pictures per cluster, up to ``most``, that keeps all photographs within the budget."""
    sizes = [[_n_bytes(entry, pictures) for entry in _with_picture(c, pictures)] for c in clusters]
    for limit in range(most, 1, -1):
        if sum(sum(cluster[:limit]) for cluster in sizes) <= budget:
            return limit
    return min(most, 1)


def _n_bytes(entry: ImageEntry, pictures: Mapping[str, Picture]) -> int:
    """Bytes of the photographs of an image and of the other views beside it."""
    shown = [entry.sha256, *(view.sha256 for view in entry.views)]
    return sum(pictures[sha256].n_bytes for sha256 in shown if sha256 in pictures)


def _draw(entry: ImageEntry, pictures: Mapping[str, Picture], scale: tuple[float, float]) -> _Drawn:
    picture = pictures[entry.sha256]
    with Image.open(io.BytesIO(picture.thumbnail)) as photo:
        zoom = _TILE_SIDE / max(photo.size)
        width, height = (max(1, round(side * zoom)) for side in photo.size)
    return _Drawn(
        entry=entry,
        photo=data_uri("image/jpeg", picture.thumbnail),
        heat=_png_uri(rarity_overlay_png(picture.rarity, vmin=scale[0], vmax=scale[1])),
        width=width,
        height=height,
        zoom=draw_zoom(picture),
        views=tuple(_draw_view(view, pictures.get(view.sha256), scale) for view in entry.views),
    )


def _draw_view(view: ViewEntry, picture: Picture | None, scale: tuple[float, float]) -> _DrawnView:
    if picture is None:
        return _DrawnView(view, None, None)
    heat = _png_uri(rarity_overlay_png(picture.rarity, vmin=scale[0], vmax=scale[1]))
    return _DrawnView(view, data_uri("image/jpeg", picture.thumbnail), heat)


def draw_zoom(picture: Picture) -> DrawnZoom | None:
    """Zoom of a picture as a page shows it; None where it has none."""
    if picture.zoom is None:
        return None
    names = ("left", "top", "width", "height")
    style = ";".join(f"{name}:{100 * part:.2f}%" for name, part in zip(names, picture.zoom.box, strict=True))
    return DrawnZoom(data_uri("image/jpeg", picture.zoom.picture), Markup(style))  # noqa: S704 - numbers only


def _png_uri(png: bytes) -> Markup:
    return data_uri("image/png", png)


def data_uri(kind: str, content: bytes) -> Markup:
    """Content as an address that a page can show without asking anybody."""
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}")  # noqa: S704 - base64 only


def _strip(
    quantiles: tuple[float, float, float, float, float], *, low: float, high: float
) -> tuple[float, float, float, float, float] | None:
    """Places of the score quantiles on the run's scale in percent; None where the cluster has no finite score."""
    if not math.isfinite(quantiles[0]):
        return None
    width = (high - low) or 1.0
    first, lower, median, upper, last = (round(100 * (value - low) / width, 1) for value in quantiles)
    return first, lower, median, upper, last


def draw_figures(report: RunReport) -> Figures:
    """Draw the figures of a run: no tree of fewer than two images, nor of heights that are not finite."""
    clusters = [entry.cluster for entry in report.images]
    several = len(clusters) > 1
    return Figures(
        tree=dendrogram_svg(report.linkage, report.n_clusters, clusters=clusters)
        if several and np.isfinite(report.linkage).all()
        else None,
        map=descriptor_map_svg(report.descriptors, clusters)
        if several and np.isfinite(report.descriptors).all()
        else None,
    )


def _markup(svg: str | None) -> Markup | None:
    """A figure as it goes into the page."""
    return None if svg is None else Markup(svg)  # noqa: S704 - our own text
