"""Figures in the papers' shape, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from anoclust_core.benchmark.columns import Results
from anoclust_core.benchmark.scoring import Measurement

_DPI: Final = 110
_THUMBNAIL: Final = 88
_FRAME: Final = 4
_WRONG: Final = (214, 39, 40)
_SEVERAL: Final = (255, 140, 0)
_RIGHT: Final = (205, 210, 216)
_PAPER: Final = (240, 242, 244)
_PER_ROW: Final = 12
_CAPTION: Final = 20


def purity_curves(results: Results) -> bytes:
    """Figures 4 and 13: purity over the number of clusters; in brackets the mean over all numbers."""
    figure, axes = _panels(list(results))
    for panel, (category, found) in zip(axes, results.items(), strict=True):
        for row in found.get("purity", ()):
            label = f"{row.method} ({row.scores['mauc']:.3f})"
            panel.plot(np.arange(1, len(row.curve) + 1), row.curve, label=label, linewidth=1.4)
        panel.set(title=category, xlabel="clusters", ylabel="purity", ylim=(0, 1.02))
        panel.legend(fontsize=7, loc="lower right")
    return _png(figure)


def sweep(results: Results, experiment: str, *, xlabel: str, positions: str) -> bytes:
    """Figures 6, 7 and 8: NMI over what an experiment varies.

    Parameters
    ----------
    results
        Has the experiment for every category.
    experiment
        Its name.
    xlabel
        Of the horizontal axis.
    positions
        ``setting``: one step each. Else the name of the score that tells where a point stands, on a logarithmic axis.
    """
    figure, axes = _panels(list(results))
    for panel, (category, found) in zip(axes, results.items(), strict=True):
        lines: dict[str, list[Measurement]] = {}
        for row in found.get(experiment, ()):
            lines.setdefault(row.method, []).append(row)
        for method, rows in lines.items():
            values = [row.scores["nmi"] for row in rows]
            varied = [row for row in rows if row.setting]
            if not varied:
                panel.axhline(values[0], linestyle=":", color="grey", label=method, linewidth=1.4)
            elif positions == "setting":
                panel.plot([row.setting for row in rows], values, marker="o", label=method, markersize=3)
            else:
                panel.semilogx([row.scores[positions] for row in rows], values, marker="o", label=method, markersize=3)
        panel.set(title=category, xlabel=xlabel, ylabel="NMI")
        panel.tick_params(axis="x", labelrotation=45 if positions == "setting" else 0, labelsize=7)
        panel.legend(fontsize=7)
    return _png(figure)


def temperature_curves(results: Results, experiment: str, *, published_tau: float) -> bytes:
    """[ARDELEAN24] Figure 5: NMI over the temperature, a line for each kind of descriptor and clustering.

    Parameters
    ----------
    results
        Has the experiment for every category; the score ``tau`` tells where a point stands.
    experiment
        Its name.
    published_tau
        The paper's own temperature, marked by a vertical line.
    """
    figure, axes = _panels(list(results))
    for panel, (category, found) in zip(axes, results.items(), strict=True):
        lines: dict[tuple[str, str], list[Measurement]] = {}
        for row in found.get(experiment, ()):
            lines.setdefault((row.method, row.clustering), []).append(row)
        colours = {method: f"C{at}" for at, method in enumerate(dict.fromkeys(method for method, _ in lines))}
        styles = dict(zip(dict.fromkeys(clustering for _, clustering in lines), ("-", "--", ":"), strict=False))
        for (method, clustering), rows in lines.items():
            points = sorted((row.scores["tau"], row.scores["nmi"]) for row in rows)
            taus, values = [tau for tau, _ in points], [nmi for _, nmi in points]
            label = f"{method}, {clustering}"
            line = {"color": colours[method], "linestyle": styles.get(clustering, "-"), "linewidth": 1.4}
            panel.semilogx(taus, values, marker="o", markersize=3, label=label, **line)
        panel.axvline(published_tau, color="grey", linewidth=0.8, linestyle=":")
        panel.set(title=category, xlabel="tau", ylabel="NMI")
        panel.tick_params(axis="x", labelsize=7)
        panel.legend(fontsize=6)
    return _png(figure)


def backbone_bars(by_backbone: Mapping[str, Results], experiment: str) -> bytes:
    """Figures 9, 10 and 11: NMI, summed over the categories where there are several; one group of bars per backbone."""
    backbones = list(by_backbone)
    categories = list(next(iter(by_backbone.values())))
    methods = list(
        dict.fromkeys(
            row.method
            for results in by_backbone.values()
            for found in results.values()
            for row in found.get(experiment, ())
            if row.clustering != "trivial"
        )
    )
    figure = Figure(figsize=(2.2 + 1.6 * len(backbones), 3.6), layout="constrained")
    panel = figure.subplots()
    width = 0.8 / max(1, len(methods))
    for at, method in enumerate(methods):
        base = np.zeros(len(backbones))
        for number, category in enumerate(categories):
            heights = np.array([_nmi(by_backbone[name][category].get(experiment, ()), method) for name in backbones])
            panel.bar(
                np.arange(len(backbones)) + at * width,
                heights,
                width * 0.92,
                bottom=base,
                color=f"C{at}",
                alpha=1 - 0.55 * number / max(1, len(categories)),
                label=f"{method}, {category}" if len(categories) > 1 else method,
            )
            base += heights
    panel.set_xticks(np.arange(len(backbones)) + 0.4 - width / 2, backbones)
    panel.set(ylabel="NMI, summed over " + ", ".join(categories) if len(categories) > 1 else "NMI")
    panel.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    return _png(figure)


def overlays(rows: Sequence[tuple[str, NDArray[np.uint8], Mapping[str, NDArray[np.floating]]]]) -> bytes:
    """Figure 3: images, and where each kind of weight looks.

    Parameters
    ----------
    rows
        Title, pixels ``(side, side, 3)`` and, by kind of weight, a map ``(height, width)`` of any scale; every row has
        the same kinds.
    """
    kinds = list(rows[0][2])
    figure = Figure(figsize=(1.7 * (1 + len(kinds)), 1.75 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 1 + len(kinds), squeeze=False)
    for line, (title, pixels, maps) in zip(panels, rows, strict=True):
        side = pixels.shape[0]
        line[0].imshow(pixels)
        line[0].set_ylabel(title, fontsize=8)
        for panel, kind in zip(line[1:], kinds, strict=True):
            panel.imshow(pixels)
            heat = maps[kind]
            panel.imshow(heat / max(float(heat.max()), 1e-12), cmap="inferno", alpha=0.6, extent=(0, side, side, 0))
        for panel in line:
            panel.set_xticks([])
            panel.set_yticks([])
    for panel, kind in zip(panels[0], ["image", *kinds], strict=True):
        panel.set_title(kind, fontsize=8)
    return _png(figure)


def cluster_sheet(clusters: Sequence[tuple[str, float, Sequence[tuple[NDArray[np.uint8], str, str | None]]]]) -> bytes:
    """Figure 5: pictures of every cluster; wrong ones are framed red, those with several defects orange.

    Parameters
    ----------
    clusters
        Majority label, purity, and of some images the thumbnail, and whether it is ``right``, ``wrong`` or
        ``several``, and its label.
    """
    cell = _THUMBNAIL + 2 * _FRAME
    height = len(clusters) * (cell + _CAPTION)
    sheet = Image.new("RGB", (_PER_ROW * cell, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    colours = {"right": _RIGHT, "wrong": _WRONG, "several": _SEVERAL}
    for number, (majority, purity, pictures) in enumerate(clusters):
        top = number * (cell + _CAPTION)
        draw.text((_FRAME, top + 3), f"{majority} ({purity:.2f})", fill="black", font=font)
        for at, (pixels, state, _) in enumerate(pictures[:_PER_ROW]):
            left = at * cell
            inner = (left, top + _CAPTION, left + cell - 2, top + _CAPTION + cell - 2)
            draw.rectangle(inner, fill=_PAPER, outline=colours[state], width=_FRAME if state != "right" else 1)
            picture = Image.fromarray(pixels)
            picture.thumbnail((_THUMBNAIL - 2 * _FRAME, _THUMBNAIL - 2 * _FRAME))
            sheet.paste(picture, (left + (cell - picture.width) // 2, top + _CAPTION + (cell - picture.height) // 2))
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()


def _nmi(rows: Sequence[Measurement], method: str) -> float:
    return next((row.scores["nmi"] for row in rows if row.method == method), 0.0)


def _panels(titles: Sequence[str]) -> tuple[Figure, list[Axes]]:
    columns = min(3, len(titles))
    lines = -(-len(titles) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * lines), layout="constrained")
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    for panel in panels[len(titles) :]:
        panel.remove()
    return figure, panels[: len(titles)]


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=_DPI, metadata={"Software": None})
    return data.getvalue()
