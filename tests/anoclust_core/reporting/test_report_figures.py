from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from helpers.report_example import example_report
from PIL import Image
from scipy.cluster import hierarchy

from anoclust_core.errors import ArrayContractError
from anoclust_core.reporting import figures
from anoclust_core.reporting.figures import (
    dendrogram_svg,
    descriptor_map_svg,
    montage_jpeg,
    rarity_overlay_png,
    rarity_scale,
)
from anoclust_core.reporting.summary import cluster_colour


def tree(n_images: int, n_clusters: int, *, method: str = "ward") -> tuple[np.ndarray, list[int], np.ndarray]:
    points = np.random.default_rng(3).normal(size=(n_images, 6))
    linkage = hierarchy.linkage(points, method)
    return linkage, (hierarchy.fcluster(linkage, n_clusters, "maxclust") - 1).tolist(), points


def overlay(rarity: list[list[float]]) -> np.ndarray:
    png = rarity_overlay_png(np.array(rarity), vmin=0.2, vmax=0.8)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


@pytest.mark.parametrize(("n_images", "n_clusters"), [(2, 1), (2, 2), (30, 4), (600, 50), (150, 150)])
def test_figures_are_drawn_for_any_number_of_images_and_clusters(n_images: int, n_clusters: int) -> None:
    """From two images to hundreds, in one cluster or fifty, both figures are well-formed and free of nan."""
    linkage, clusters, points = tree(n_images, n_clusters)
    for svg in (dendrogram_svg(linkage, n_clusters, clusters=clusters), descriptor_map_svg(points, clusters)):
        ET.fromstring(svg)
        assert "nan" not in svg.lower()


def test_the_tree_wears_the_colours_of_its_clusters() -> None:
    """Each cluster's colour is in the tree and in the map, and its number stands in both."""
    linkage, clusters, points = tree(60, 5)
    for svg in (dendrogram_svg(linkage, 5, clusters=clusters), descriptor_map_svg(points, clusters)):
        assert all(cluster_colour(number) in svg for number in range(5))
        assert all(re.search(rf">{number}</text>", svg) for number in range(5))


def test_the_feet_of_the_tree_stand_for_all_images() -> None:
    """The counts written under a shortened tree add up to the number of images."""
    linkage, clusters, _ = tree(200, 3)
    svg = dendrogram_svg(linkage, 3, clusters=clusters, max_feet=12)
    feet = re.search(r'id="tree-matplotlib.axis_1">(.*?)id="tree-matplotlib.axis_2"', svg, re.DOTALL)
    assert feet is not None
    assert sum(int(count) for count in re.findall(r">(\d+)</text>", feet[1])) == 200


def test_clusters_of_several_heights_are_all_seen() -> None:
    """A small cluster deep in the tree has feet of its own, and no line says that one height gives the clusters."""
    rng = np.random.default_rng(0)
    far = rng.normal(size=(300, 3)) * 5
    near = np.concatenate([rng.normal(size=(20, 3)) * 0.01 + 40, rng.normal(size=(20, 3)) * 0.01 + 40.5])
    linkage = hierarchy.linkage(np.concatenate([far, near]), "ward")
    several = [0] * 300 + [1] * 20 + [2] * 20
    svg = dendrogram_svg(linkage, 3, clusters=several)
    assert all(re.search(rf">{number}</text>", svg) for number in range(3))
    by_height = (hierarchy.fcluster(linkage, 3, "maxclust") - 1).tolist()
    assert by_height != several
    assert "stroke-dasharray" not in svg
    assert "stroke-dasharray" in dendrogram_svg(linkage, 3, clusters=by_height)


def test_a_chain_of_merges_is_drawn() -> None:
    """A tree that adds one image at a time, hundreds deep, does not exhaust the stack."""
    n = 1500
    linkage = np.column_stack(
        [np.r_[0, np.arange(n, 2 * n - 2)], np.arange(1, n), np.arange(1.0, n), np.arange(2, n + 1)]
    ).astype(float)
    assert dendrogram_svg(linkage, 1, clusters=[0] * n).startswith("<svg")


def test_identical_images_are_drawn() -> None:
    """Descriptors that are all alike, and merges at distance zero, still give figures."""
    points = np.ones((20, 4), dtype=np.float32)
    linkage = hierarchy.linkage(points, "average")
    assert "nan" not in dendrogram_svg(linkage, 2, clusters=[0] * 10 + [1] * 10)
    assert "0% of the variance" in descriptor_map_svg(points, [0] * 10 + [1] * 10)


def test_one_dimensional_descriptors_are_drawn() -> None:
    """A descriptor of one number gives a map whose second axis explains nothing."""
    assert "100% of the variance" in descriptor_map_svg(np.arange(5.0)[:, None], [0, 0, 1, 1, 1])


def test_figures_are_the_same_each_time_and_leave_no_settings_behind() -> None:
    """Same input, same text; matplotlib's settings are as before."""
    linkage, clusters, points = tree(40, 3)
    before = dict(mpl.rcParams)
    assert dendrogram_svg(linkage, 3, clusters=clusters) == dendrogram_svg(linkage, 3, clusters=clusters)
    assert descriptor_map_svg(points, clusters) == descriptor_map_svg(points, clusters)
    assert dict(mpl.rcParams) == before


def test_a_map_of_thousands_of_images_stays_small() -> None:
    """Thousands of points become one picture inside the figure."""
    points = np.random.default_rng(0).normal(size=(5000, 3))
    svg = descriptor_map_svg(points, (np.arange(5000) % 4).tolist())
    assert "data:image/png" in svg
    assert len(svg) < 400_000


@pytest.mark.parametrize("shape", [(0, 4), (3, 4), (1, 3)])
def test_a_tree_of_another_size_is_refused(shape: tuple[int, int]) -> None:
    """A linkage that does not belong to the leaves is named as such."""
    with pytest.raises(ArrayContractError, match=r"linkage (must be finite|to be an array)"):
        dendrogram_svg(np.zeros(shape), 1, clusters=[0, 0])


def test_values_that_are_not_finite_are_refused() -> None:
    """Neither figure is drawn from nan."""
    with pytest.raises(ArrayContractError, match="finite"):
        dendrogram_svg(np.full((1, 4), np.nan), 1, clusters=[0, 0])
    with pytest.raises(ArrayContractError, match="finite"):
        descriptor_map_svg(np.full((2, 3), np.inf), [0, 0])


def test_heat_grows_with_rarity() -> None:
    """Common patches stay bare, rarer ones are more opaque, and all beyond the scale look alike."""
    alpha = overlay([[0.0, 0.2, 0.4, 0.6, 0.8, 9.0]])[0, :, 3].tolist()
    assert alpha[0] == alpha[1] == 0
    assert alpha == sorted(alpha)
    assert alpha[4] == alpha[5] > alpha[3]


def test_a_patch_without_a_rarity_stays_bare() -> None:
    """A patch whose rarity is nan is transparent."""
    assert overlay([[np.nan, 0.8]])[0, 0, 3] == 0


def test_heat_keeps_the_grid() -> None:
    """The overlay has one pixel per patch, rows down and columns across."""
    grid = np.full((3, 5), 0.2)
    grid[2, 1] = 0.8
    pixels = overlay(grid.tolist())
    assert pixels.shape == (3, 5, 4)
    assert np.argwhere(pixels[..., 3]).tolist() == [[2, 1]]


def test_a_bad_grid_or_scale_is_refused() -> None:
    """Something that is not a grid, or a scale of no width, is an error with the reason."""
    with pytest.raises(ArrayContractError, match=r"rarity .*\(height, width\)"):
        rarity_overlay_png(np.zeros(4), vmin=0, vmax=1)
    with pytest.raises(ArrayContractError, match="vmin < vmax"):
        rarity_overlay_png(np.zeros((2, 2)), vmin=1, vmax=1)


@pytest.mark.parametrize("maps", [[], [np.full((2, 2), np.nan)], [np.full((2, 2), 0.5)], [np.eye(3), np.zeros((4, 4))]])
def test_a_run_always_has_a_colour_scale(maps: list[np.ndarray]) -> None:
    """No picture, only nan or one constant value: the scale still has a width."""
    vmin, vmax = rarity_scale(maps)
    assert np.isfinite([vmin, vmax]).all()
    assert vmin < vmax


@pytest.mark.parametrize("pictures", [True, False])
def test_the_cluster_sheet_has_a_row_for_each_cluster(pictures: bool) -> None:
    """The sheet is a JPEG whose height grows with the clusters, with or without pictures."""
    heights = [Image.open(io.BytesIO(montage_jpeg(example_report(12, k, pictures=pictures)))).height for k in (1, 2, 4)]
    assert heights[1] == 2 * heights[0]
    assert heights[2] == 4 * heights[0]


def test_the_cluster_sheet_counts_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions say parts where parts are clustered, and one of them in the singular."""
    captions: list[str] = []

    def caption(text: str, *, colour: str, size: tuple[int, int]) -> Image.Image:
        captions.append(text)
        return Image.new("RGB", size, colour)

    monkeypatch.setattr(figures, "_sheet_caption", caption)
    montage_jpeg(example_report(3, 3, unit="part"), max_rows=2)
    assert [text.partition(" (")[0].partition(": ")[2] for text in captions[:2]] == ["1 part", "1 part"]
    assert captions[2] == "1 more cluster is in the report"


def test_the_cluster_sheet_keeps_its_limit() -> None:
    """Fifty clusters, or a small limit, never give a larger file than allowed."""
    report = example_report(150, 50)
    assert len(montage_jpeg(report)) <= 400_000
    assert len(montage_jpeg(report, max_bytes=20_000)) <= 20_000
