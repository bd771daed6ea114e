"""Figures of the report as SVG, PNG and JPEG; pure functions of plain values."""

from __future__ import annotations

import io
import math
import re
import threading
from collections.abc import Iterable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.cluster import hierarchy

from anoclust_core.arrays import checked_array, checked_iterable, checked_sequence
from anoclust_core.errors import ArrayContractError
from anoclust_core.reporting.record import Picture, RunReport
from anoclust_core.reporting.summary import ClusterSummary, cluster_colour, summarise_clusters
from anoclust_core.wording import counted

FloatArray = NDArray[np.floating]

MAX_TREE_FEET = 120
MAX_VECTOR_POINTS = 2_000
# More names than this do not fit side by side under the tree; the coloured bars remain.
MAX_NAMED_CLUSTERS = 60

_MANY_CLUSTERS = 24
_NAME_SIZE = 10.0
_SMALL_NAME_SIZE = 6.5

# Ink that follows the page (light or dark): drawn in this colour, then renamed to CSS ``currentColor``.
_INK = "#010203"
_MIXED = "#8d96a5"
_SCIPY_FOOT_STEP = 10.0

# Rarity to colour: position in [0, 1], then red, green, blue, alpha. The common half of the patches stays bare.
_HEAT_STOPS = np.array(
    [
        [0.00, 255, 222, 60, 0],
        [0.25, 255, 205, 30, 75],
        [0.55, 255, 125, 0, 130],
        [1.00, 225, 10, 50, 165],
    ]
)

_HEAT_STEPS = 32

_SHEET_PAPER = "#ffffff"
_SHEET_INK = "#1c2430"
_SHEET_GAP = 6
_SHEET_CAPTION = 24
_JPEG_QUALITIES = (88, 78, 66, 54, 42)

# matplotlib reads rcParams while it writes, and they are one table for the process.
_RC_LOCK = threading.Lock()
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def rarity_scale(maps: Iterable[FloatArray], *, n_tiles: int = 1) -> tuple[float, float]:
    """Find the ends of the colour scale that all pictures of a run share.

    Parameters
    ----------
    maps
        Rarity grids of any shapes, in embedding units. Non-finite patches are left out.
    n_tiles
        Tiles of a frame. With more of them as many patches of a frame are red as of one picture: the part that was
        always red would hide a small defect among the others.

    Returns
    -------
    vmin, vmax
        Median and 99.5th percentile of all patches, of frames in tiles a higher one; ``vmin < vmax`` always; ``(0, 1)``
        without a finite patch.
    """
    grids = (checked_array("a map", grid, "(..., width)") for grid in checked_iterable("maps", maps))
    patches = np.concatenate([np.empty(0), *(np.ravel(grid) for grid in grids)])
    patches = patches[np.isfinite(patches)]
    if not patches.size:
        return 0.0, 1.0
    vmin, vmax = np.percentile(patches, (50.0, 100.0 - 0.5 / n_tiles)).tolist()
    if vmax <= vmin:  # maps that are the same nearly everywhere
        vmax = float(patches.max())
    return vmin, max(vmax, math.nextafter(vmin, math.inf))


def shared_scale(pictures: Mapping[str, Picture]) -> tuple[float, float]:
    """Ends of the colour scale that all pictures of a page share."""
    n_tiles = max((picture.n_tiles for picture in pictures.values()), default=1)
    return rarity_scale((picture.rarity for picture in pictures.values()), n_tiles=n_tiles)


def rarity_overlay_png(rarity: FloatArray, *, vmin: float, vmax: float) -> bytes:
    """Heat colours of a rarity grid, one pixel per patch, to be stretched over the picture.

    Parameters
    ----------
    rarity
        Shape ``(grid_height, grid_width)``, in embedding units. A NaN patch becomes transparent, an infinite one
        takes the colour of its end of the scale.
    vmin, vmax
        Ends of the scale, ``vmin < vmax``: transparent up to ``vmin``, yellow, orange, strong red from ``vmax`` on.

    Returns
    -------
    png
        Indexed colours with transparency, ``grid_width`` x ``grid_height`` pixels.

    Raises
    ------
    ArrayContractError
        If ``rarity`` is not a non-empty grid or the scale is empty.
    """
    rarity = checked_array("rarity", rarity, "(height, width)")
    grid = np.asarray(rarity, dtype=np.float64)
    if grid.ndim != 2 or not grid.size:
        raise ArrayContractError(f"rarity must be a grid (height, width) with patches, found shape {grid.shape}")
    if not vmin < vmax:
        raise ArrayContractError(f"the colour scale needs vmin < vmax, found {vmin} and {vmax}; take rarity_scale()")
    position = np.clip((np.nan_to_num(grid, nan=vmin, posinf=vmax, neginf=vmin) - vmin) / (vmax - vmin), 0.0, 1.0)
    steps = np.linspace(0.0, 1.0, _HEAT_STEPS)
    ramp = [np.interp(steps, _HEAT_STOPS[:, 0], _HEAT_STOPS[:, channel]).round() for channel in range(1, 5)]
    # An indexed PNG is half the size of an RGBA one or less, and a page holds hundreds.
    image = Image.fromarray((position * (_HEAT_STEPS - 1)).round().astype(np.uint8))
    image.putpalette(np.stack(ramp[:3], axis=-1).astype(np.uint8).tobytes())
    png = io.BytesIO()
    image.save(png, "PNG", optimize=True, transparency=ramp[3].astype(np.uint8).tobytes())
    return png.getvalue()


def dendrogram_svg(linkage: ArrayLike, n_clusters: int, *, clusters: Sequence[int], max_feet: int = 40) -> str:
    """Merge tree of the images, its upper part, in the colours of the clusters.

    Parameters
    ----------
    linkage
        Shape ``(n_images - 1, 4)``, SciPy's layout, finite.
    n_clusters
        Number of the clusters. A dashed line shows the height that the tree is cut at, where one height gives them.
    clusters
        Cluster of each leaf, ``n_images`` numbers from 0. A branch whose images are all in one cluster has its colour.
    max_feet
        Longest row of feet; a foot stands for all images below it. More are drawn (up to 120) where a foot would hold
        several clusters, or else the cut could not be seen.

    Returns
    -------
    svg
        An ``<svg>`` element; text and axes are in ``currentColor``. Same input, same text.

    Raises
    ------
    ArrayContractError
        If ``linkage`` has another shape, holds no merge or is not finite.
    """
    clusters = checked_sequence("clusters", clusters, (int, np.integer))
    linkage = checked_array("linkage", linkage, "(n_images - 1, 4)")
    tree = np.asarray(linkage, dtype=np.float64)
    if tree.shape != (len(clusters) - 1, 4) or not len(tree) or not np.isfinite(tree).all():
        raise ArrayContractError(
            f"linkage must be finite, of shape ({len(clusters) - 1}, 4) for {len(clusters)} leaves and hold a merge; "
            f"found shape {tree.shape}"
        )
    owner = _node_clusters(tree, clusters)
    undone = [at for at, of_merge in enumerate(owner[len(clusters) :]) if of_merge < 0]
    lowest = min(undone, default=len(tree))
    feet = min(len(clusters), max(max_feet, min(len(clusters) - lowest, MAX_TREE_FEET)))
    layout = hierarchy.dendrogram(
        tree,
        p=feet,
        truncate_mode="lastp",
        no_plot=True,
        link_color_func=lambda node: _MIXED if owner[node] < 0 else cluster_colour(owner[node]),
    )
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    forks = [list(zip(*fork, strict=True)) for fork in zip(layout["icoord"], layout["dcoord"], strict=True)]
    axes.add_collection(LineCollection(forks, colors=layout["color_list"], linewidths=1.6))
    cut = _cut_height(tree[:, 2], n_clusters)
    if lowest == len(tree) - len(undone):
        axes.axhline(cut, color=_INK, linewidth=1.0, linestyle=(0, (5, 4)))
    axes.set_xlim(0.0, _SCIPY_FOOT_STEP * feet)
    axes.set_ylim(0.0, 1.05 * max(tree[:, 2].max(), cut) or 1.0)
    axes.set_ylabel("merge distance")
    _name_feet(axes, [owner[node] for node in layout["leaves"]], _leaf_counts(tree)[layout["leaves"]])
    return to_svg(figure, name="tree", title=f"Merge tree of {len(clusters)} images, cut into {n_clusters} clusters")


def descriptor_map_svg(descriptors: ArrayLike, clusters: Sequence[int]) -> str:
    """Images as points on the two main axes of their descriptors, in the colours of the clusters.

    Principal components of the centred descriptors; the sign of each is chosen so that the result is unique. Above
    2,000 images the points become one embedded picture, which keeps the page small.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite.
    clusters
        Cluster of each image, from 0.

    Returns
    -------
    svg
        As in `dendrogram_svg`.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` is empty, not two-dimensional, not finite or not as long as ``clusters``.
    """
    clusters = checked_sequence("clusters", clusters, (int, np.integer))
    descriptors = checked_array("descriptors", descriptors, "(n_images, dim)")
    points = np.asarray(descriptors, dtype=np.float64)
    if points.ndim != 2 or not points.size or len(points) != len(clusters) or not np.isfinite(points).all():
        raise ArrayContractError(
            f"descriptors must be finite, of shape ({len(clusters)}, dim) with dim > 0, found shape {points.shape}"
        )
    places, shares = _principal_plane(points)
    numbers = np.asarray(clusters)
    figure = Figure(figsize=(6.4, 5.0), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(
        places[:, 0],
        places[:, 1],
        c=[cluster_colour(number) for number in clusters],
        s=22 if len(points) < 300 else 14,
        linewidths=0,
        alpha=0.75,
        rasterized=len(points) > MAX_VECTOR_POINTS,
    )
    found = np.unique(numbers).tolist()
    size = _NAME_SIZE if len(found) <= _MANY_CLUSTERS else _SMALL_NAME_SIZE
    for number in found:
        x, y = np.median(places[numbers == number], axis=0).tolist()
        box = {"boxstyle": "round,pad=0.25", "facecolor": cluster_colour(number), "edgecolor": "none"}
        axes.text(
            x, y, str(number), color="white", fontsize=size, fontweight="bold", ha="center", va="center", bbox=box
        )
    axes.set_xlabel(f"first axis, {shares[0]:.0%} of the variance")
    axes.set_ylabel(f"second axis, {shares[1]:.0%} of the variance")
    axes.set_aspect("equal", adjustable="datalim")
    return to_svg(figure, name="map", title=f"Map of {len(points)} image descriptors, coloured by cluster")


def montage_jpeg(
    report: RunReport, *, columns: int = 10, side: int = 112, max_rows: int = 20, max_bytes: int = 400_000
) -> bytes:
    """Cluster sheet: one row of typical pictures with their heat per cluster, the most anomalous cluster on top.

    Parameters
    ----------
    report
        The run. Images without a picture are passed over; a cluster without any shows its caption alone.
    columns
        Most pictures in a row.
    side
        Width and height of the space for one picture, in pixels.
    max_rows
        Most clusters on the sheet; a last line says how many are left out.
    max_bytes
        Limit of the result. First the JPEG quality is lowered, then the sheet is shrunk.

    Returns
    -------
    jpeg
        At most ``max_bytes`` bytes.
    """
    clusters = summarise_clusters(report.images)
    vmin, vmax = shared_scale(report.pictures)
    width = columns * (side + _SHEET_GAP) + _SHEET_GAP
    rows = [
        _sheet_row(
            cluster, report.pictures, unit=report.unit, width=width, columns=columns, side=side, scale=(vmin, vmax)
        )
        for cluster in clusters[:max_rows]
    ]
    left_out = len(clusters) - len(rows)
    if left_out or not rows:
        are = "is" if left_out == 1 else "are"
        text = f"{counted(left_out, 'more cluster')} {are} in the report" if rows else "no image was clustered"
        rows.append(_sheet_caption(text, colour=_MIXED, size=(width, _SHEET_CAPTION)))
    sheet = Image.new("RGB", (width, sum(row.height for row in rows)), _SHEET_PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return _jpeg_below(sheet, max_bytes)


def _sheet_row(
    cluster: ClusterSummary,
    pictures: Mapping[str, Picture],
    *,
    unit: str,
    width: int,
    columns: int,
    side: int,
    scale: tuple[float, float],
) -> Image.Image:
    """Caption and the first pictures of one cluster."""
    shown = [pictures[entry.sha256] for entry in cluster.entries if entry.sha256 in pictures][:columns]
    row = Image.new("RGB", (width, _SHEET_CAPTION + (side + _SHEET_GAP if shown else 0)), _SHEET_PAPER)
    median = f"{cluster.median_score:.3f}" if math.isfinite(cluster.median_score) else "unknown"
    size = counted(len(cluster.entries), unit)
    text = f"Cluster {cluster.number}: {size} ({cluster.share:.0%}), median score {median}"
    row.paste(_sheet_caption(text, colour=cluster.colour, size=(width, _SHEET_CAPTION)), (0, 0))
    for column, picture in enumerate(shown):
        tile = _picture_with_heat(picture, side=side, scale=scale)
        left = _SHEET_GAP + column * (side + _SHEET_GAP)
        row.paste(tile, (left + (side - tile.width) // 2, _SHEET_CAPTION + (side - tile.height) // 2))
    return row


def _sheet_caption(text: str, *, colour: str, size: tuple[int, int]) -> Image.Image:
    strip = Image.new("RGB", size, _SHEET_PAPER)
    draw = ImageDraw.Draw(strip)
    draw.rectangle((_SHEET_GAP, 6, _SHEET_GAP + 12, size[1] - 6), fill=colour)
    draw.text((_SHEET_GAP + 20, size[1] / 2), text, fill=_SHEET_INK, font=ImageFont.load_default(14), anchor="lm")
    return strip


def _picture_with_heat(picture: Picture, *, side: int, scale: tuple[float, float]) -> Image.Image:
    photo = Image.open(io.BytesIO(picture.thumbnail)).convert("RGBA")
    zoom = side / max(photo.size)
    photo = photo.resize((max(1, round(photo.width * zoom)), max(1, round(photo.height * zoom))))
    heat = Image.open(io.BytesIO(rarity_overlay_png(picture.rarity, vmin=scale[0], vmax=scale[1])))
    return Image.alpha_composite(photo, heat.convert("RGBA").resize(photo.size, Image.Resampling.BILINEAR)).convert(
        "RGB"
    )


def _jpeg_below(sheet: Image.Image, max_bytes: int) -> bytes:
    while True:
        for quality in _JPEG_QUALITIES:
            jpeg = io.BytesIO()
            sheet.save(jpeg, "JPEG", quality=quality, optimize=True)
            if jpeg.tell() <= max_bytes or min(sheet.size) < 16:
                return jpeg.getvalue()
        sheet = sheet.resize((sheet.width * 3 // 4, sheet.height * 3 // 4))


def _node_clusters(tree: NDArray[np.float64], clusters: Sequence[int]) -> list[int]:
    """Cluster of every node of the tree, leaves first; -1 where a branch holds several."""
    owner = list(clusters)
    for left, right in tree[:, :2].astype(int).tolist():
        owner.append(owner[left] if owner[left] == owner[right] else -1)
    return owner


def _leaf_counts(tree: NDArray[np.float64]) -> NDArray[np.int64]:
    """Images below every node of the tree, leaves first."""
    return np.concatenate([np.ones(len(tree) + 1, dtype=np.int64), tree[:, 3].astype(np.int64)])


def _cut_height(heights: NDArray[np.float64], n_clusters: int) -> float:
    """Half way between the last merge below a cut into ``n_clusters`` and the first above it."""
    steps = np.concatenate([[0.0], np.sort(heights)])
    below = min(max(len(steps) - n_clusters, 0), len(steps) - 1)
    above = steps[below + 1] if below + 1 < len(steps) else 1.1 * steps[-1]
    return float(steps[below] + above) / 2


def _name_feet(axes: Axes, owners: Sequence[int], counts: NDArray[np.int64]) -> None:
    """Write the images below each foot, and the cluster's number once under the feet of each cluster."""
    middles = _SCIPY_FOOT_STEP * (np.arange(len(owners)) + 0.5)
    few = len(owners) <= MAX_NAMED_CLUSTERS
    axes.set_xticks(middles if few else [], labels=counts.tolist() if few else [], fontsize=_SMALL_NAME_SIZE)
    axes.tick_params(axis="x", length=0, pad=2)
    found = sorted({owner for owner in owners if owner >= 0})
    size = _NAME_SIZE if len(found) <= _MANY_CLUSTERS else _SMALL_NAME_SIZE
    for number in found:
        x = middles[[owner == number for owner in owners]]
        colour = cluster_colour(number)
        half = 0.4 * _SCIPY_FOOT_STEP
        ends = [x.min() - half, x.max() + half]
        under = axes.get_xaxis_transform()
        axes.plot(ends, [-0.075, -0.075], color=colour, linewidth=3, transform=under, clip_on=False)
        if len(found) <= MAX_NAMED_CLUSTERS:
            text = axes.text(x.mean(), -0.1, str(number), color=colour, fontsize=size, ha="center", va="top")
            text.set(transform=under, fontweight="bold")


def _principal_plane(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Coordinates ``(n, 2)`` on the first two principal axes, and their shares of the variance."""
    left, spread, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    strongest = np.abs(axes).argmax(axis=1)
    signs = np.where(axes[np.arange(len(axes)), strongest] < 0, -1.0, 1.0)
    places = np.zeros((len(points), 2))
    shares = np.zeros(2)
    kept = min(2, len(spread))
    places[:, :kept] = (left * spread * signs)[:, :kept]
    if (total := float((spread**2).sum())) > 0:
        shares[:kept] = spread[:kept] ** 2 / total
    return places, (float(shares[0]), float(shares[1]))


def to_svg(figure: Figure, *, name: str, title: str) -> str:
    """Text of the figure, with ids of its own so that several can share one page."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_INK)
        axes.tick_params(colors=_INK)
        axes.xaxis.label.set_color(_INK)
        axes.yaxis.label.set_color(_INK)
        axes.set_facecolor("none")
    figure.set_facecolor("none")
    text = io.StringIO()
    with _RC_LOCK, mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "anoclust"}):
        figure.savefig(text, format="svg", metadata=_NO_METADATA)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" class="figure" ', 1)
