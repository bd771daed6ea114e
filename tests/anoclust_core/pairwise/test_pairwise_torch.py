"""The kernel on a torch device keeps the promises of the plain one: on the CPU, and on CUDA where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from helpers.nearest_patches import Bags, brute_force, moved
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from anoclust_core.bags import normalize_patches
from anoclust_core.errors import ArrayContractError, ResourceError
from anoclust_core.pairwise import cpu, gpu

quick = settings(max_examples=20, deadline=None, database=None)

TOLERANCE = 2e-5


def random_bags(
    rng: np.random.Generator, n_images: int, n_patches: int, dim: int, *, alike: float = 0.0, shared: int = 0
) -> Bags:
    """Random bags; ``alike`` from 0 to 1 moves all patches towards one direction drawn from the seed ``shared``."""
    direction = np.random.default_rng(shared).normal(size=dim)
    return normalize_patches((1 - alike) * rng.normal(size=(n_images, n_patches, dim)) + alike * direction)


pairs_of_groups = st.builds(
    lambda seed, n, n_others, m, m_others, dim, alike: (
        random_bags(np.random.default_rng(seed), n, m, dim, alike=alike, shared=seed),
        random_bags(np.random.default_rng([seed, 1]), n_others, m_others, dim, alike=alike, shared=seed),
    ),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 4),
    n_others=st.integers(1, 4),
    m=st.sampled_from([1, 3, 16, 23]),
    m_others=st.sampled_from([1, 2, 16, 21]),
    dim=st.sampled_from([1, 2, 31, 70]),
    alike=st.sampled_from([0, 0.5, 0.9, 0.99]),
)

no_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch sees none here")
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=no_cuda)])


@contextmanager
def limits(**values: int) -> Iterator[None]:
    """Set limits of the kernel, so that few small images go the ways of many large ones."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setattr(gpu, name, value)
        yield


tile_values = st.sampled_from([1, 700, 1 << 26])
candidates = st.sampled_from([0, 2, 8])
"""With 0 all pairs are measured in double precision, with 2 some."""


@devices
@quick
@given(groups=pairs_of_groups, values=tile_values, limit=candidates)
def test_distances_are_those_of_a_search_over_all_patches(
    groups: tuple[Bags, Bags], values: int, limit: int, device: str
) -> None:
    """Whatever the numbers of images and patches and the size of a tile, all distances are those of a plain search."""
    bags, others = groups
    with limits(TILE_VALUES=values, CANDIDATES_A_PATCH=limit):
        forward, backward = gpu.mutual_nearest_distances(bags, others, device=device)
        within = gpu.nearest_distances_within(bags, device=device)
        directed = gpu.nearest_distances(bags, others, device=device)
    for found, left, right in ((forward, bags, others), (backward, others, bags), (within, bags, bags)):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, brute_force(left, right), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(directed, forward, rtol=0, atol=1e-6)
    assert (within[np.arange(len(bags)), np.arange(len(bags))] == 0).all()


@devices
@pytest.mark.parametrize("alike", [0, 0.8, 0.97])
def test_the_plain_kernel_gives_the_same(device: str, alike: float) -> None:
    """Patches that are spread out, near each other, and all but equal get the distances of the plain kernel."""
    rng = np.random.default_rng(5)
    bags, others = (random_bags(rng, n, m, 96, alike=alike) for n, m in ((5, 64), (3, 49)))
    for found, expected in zip(
        gpu.mutual_nearest_distances(bags, others, device=device),
        cpu.mutual_nearest_distances(bags, others),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    within = gpu.nearest_distances_within(bags, device=device)
    np.testing.assert_allclose(within, cpu.nearest_distances_within(bags), rtol=0, atol=TOLERANCE)


@devices
@quick
@given(
    seed=st.integers(0, 2**32 - 1), dim=st.sampled_from([2, 3, 64, 300]), n_copies=st.integers(1, 4), limit=candidates
)
def test_near_duplicates_keep_their_tiny_distances(seed: int, dim: int, n_copies: int, limit: int, device: str) -> None:
    """Distances of 1e-4 to 1e-2 are right to 5 digits, those down to 1e-6 to a few 1e-8, though a product has none."""
    rng = np.random.default_rng(seed)
    bags = random_bags(rng, 2, 6, dim)
    copied = np.repeat(bags, n_copies, axis=1)
    others = moved(copied, 10 ** rng.uniform(-6, -2, size=copied.shape[:2]), rng)
    with limits(CANDIDATES_A_PATCH=limit):
        found = gpu.mutual_nearest_distances(bags, others, device=device)
    for distances, expected in zip(found, (brute_force(bags, others), brute_force(others, bags)), strict=True):
        tiny = expected < 1.2e-2
        np.testing.assert_allclose(distances[tiny], expected[tiny], rtol=1e-5, atol=1e-6)


@devices
@pytest.mark.parametrize("limit", [0, 8])
def test_a_copy_is_at_distance_exactly_zero(device: str, limit: int) -> None:
    """Where two images share some patches, exactly those are at distance 0; what a copy differs by is kept."""
    rng = np.random.default_rng(3)
    bags, others = random_bags(rng, 1, 40, 120), random_bags(rng, 1, 50, 120)
    others[0, 7:17] = bags[0, 20:30]
    others[0, 7] = moved(bags[0, 20:21], np.array([1e-5]), rng)[0]
    with limits(CANDIDATES_A_PATCH=limit):
        forward, backward = gpu.mutual_nearest_distances(bags, others, device=device)
    assert np.flatnonzero(forward[0, 0] == 0).tolist() == list(range(21, 30))
    assert np.flatnonzero(backward[0, 0] == 0).tolist() == list(range(8, 17))
    assert forward[0, 0, 20] == backward[0, 0, 7] == pytest.approx(1e-5, rel=0.02)


@devices
@pytest.mark.parametrize("distance", [0, 1e-6, 1e-3, 0.5])
def test_flat_backgrounds_have_one_distance(device: str, distance: float) -> None:
    """Between images without any texture every patch has the one distance, though all patches are candidates."""
    rng = np.random.default_rng(0)
    colour = random_bags(rng, 1, 1, 64)
    other = moved(colour, np.array([[distance]]), rng) if distance else colour
    bags, others = np.repeat(colour, 130, axis=1), np.repeat(other, 110, axis=1)
    expected = np.linalg.norm(colour.astype(float) - other)
    for found in gpu.mutual_nearest_distances(bags, others, device=device):
        np.testing.assert_allclose(found, np.full(found.shape, expected), rtol=1e-5, atol=1e-7)


@devices
def test_a_flat_image_among_others_is_measured_apart(device: str) -> None:
    """Pairs with a flat background and pairs without one in the same tile are both right."""
    rng = np.random.default_rng(1)
    bags = random_bags(rng, 4, 60, 32)
    bags[1, 5:] = bags[1, 5]
    bags[3, :50] = bags[1, 5]
    found = gpu.nearest_distances_within(bags, device=device)
    np.testing.assert_allclose(found, brute_force(bags, bags), rtol=0, atol=TOLERANCE)
    assert (found[1, 3, 5:] == 0).all()


@devices
@pytest.mark.parametrize("seed", range(3))
def test_what_half_precision_confuses_is_told_apart(device: str, seed: int) -> None:
    """Where the nearest patch loses against others after rounding to half precision, it is still found."""
    rng = np.random.default_rng(seed)
    bags = random_bags(rng, 1, 30, 200)
    # inner products 1e-5 apart around 0.5, where half precision has steps of 5e-4
    distances = np.sqrt(2 - 2 * (0.5 + 1e-5 * rng.permutation(40)))
    others = moved(np.repeat(bags[:, :1], 40, axis=1), distances[None], rng)
    in_half = others[0].astype(np.float16).astype(float) @ bags[0, 0].astype(np.float16).astype(float)
    assert in_half.argmax() != distances.argmin() or len(np.unique(in_half.astype(np.float16))) < 5
    found = gpu.nearest_distances(bags, others, device=device)
    np.testing.assert_allclose(found, brute_force(bags, others), rtol=0, atol=2e-6)


@devices
@quick
@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.sampled_from([1, 7, 120, 512, 1500]),
    alike=st.sampled_from([0, 0.9, 1]),
    power=st.floats(1, 8),
)
def test_a_product_is_as_exact_as_the_stated_bound(
    seed: int, dim: int, alike: float, power: float, device: str
) -> None:
    """No value of the half-precision product is off by more than the bound that the candidates rest on."""
    rng = np.random.default_rng(seed)
    drawn = random_bags(rng, 2, 15, dim, alike=alike, shared=seed)
    # powers give a few large features and many that are subnormal in half precision
    bags = normalize_patches(np.sign(drawn) * np.abs(drawn) ** power)
    sides = [gpu._Side.on(torch.device(device), bags[part]) for part in (slice(0, 1), slice(1, 2))]
    with gpu._summed_in_single():
        product = (sides[0].halves[0] @ sides[1].halves[0].T).cpu().double().numpy()
    exact = bags[0].astype(float) @ bags[1].astype(float).T
    assert np.abs(product - exact).max() <= gpu._product_error(*sides)


PRODUCTS = {"mm", "addmm", "addmm_", "bmm", "baddbmm", "matmul", "__matmul__", "einsum", "tensordot", "cdist", "linear"}


class CountProducts(TorchFunctionMode):
    """Keep the shape of every matrix product that is asked of torch, by its type."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: dict[torch.dtype, list[tuple[int, ...]]] = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        given = func(*args, **(kwargs or {}))
        if func.__name__ in PRODUCTS:
            self.shapes.setdefault(given.dtype, []).append(tuple(given.shape))
        return given


@devices
@pytest.mark.parametrize(
    ("tile", "shapes"),
    [
        pytest.param((1, 1), [(20, 30)] * 35, id="a pair a tile"),
        pytest.param((2, 2), [(40, 60)] * 6 + [(40, 30)] * 2 + [(20, 60)] * 3 + [(20, 30)], id="no divisor"),
        pytest.param((5, 7), [(100, 210)], id="one tile"),
    ],
)
def test_both_directions_come_from_one_half_precision_product(
    monkeypatch: pytest.MonkeyPatch, device: str, tile: tuple[int, int], shapes: list[tuple[int, int]]
) -> None:
    """Every image pair is multiplied once, in half precision; nothing else is multiplied, for two directions."""
    rng = np.random.default_rng(0)
    bags, others = random_bags(rng, 5, 20, 16), random_bags(rng, 7, 30, 16)
    monkeypatch.setattr(gpu, "_plan_tile", lambda *_, **__: tile)
    with CountProducts() as counted:
        gpu.mutual_nearest_distances(bags, others, device=device)
    assert set(counted.shapes) == {torch.float16}
    assert sorted(counted.shapes[torch.float16]) == sorted(shapes)


def test_within_a_group_few_pairs_are_multiplied_twice() -> None:
    """Among the images of one group each pair is multiplied once but for those of a row of tiles' own images."""
    bags = random_bags(np.random.default_rng(0), 16, 5, 8)
    with CountProducts() as counted:
        gpu.nearest_distances_within(bags, device="cpu")
    pairs = sum(rows * columns for rows, columns in counted.shapes[torch.float16]) // 25
    assert pairs == 4 * (16 + 12 + 8 + 4)  # of 256, 136 of which differ
    with limits(TILE_VALUES=1), CountProducts() as counted:
        gpu.nearest_distances_within(bags, device="cpu")
    assert len(counted.shapes[torch.float16]) == 136


def test_only_crowded_pairs_are_multiplied_again() -> None:
    """Of all image pairs only one with a flat background is multiplied a second time, in double precision."""
    bags = random_bags(np.random.default_rng(0), 3, 40, 32)
    bags[:2, :30] = bags[0, 0]
    with CountProducts() as counted:
        gpu.mutual_nearest_distances(bags[:1], bags[1:], device="cpu")
    assert counted.shapes == {torch.float16: [(40, 80)], torch.float64: [(40, 40)]}


@pytest.mark.parametrize("limit", [0, 40])
def test_a_large_pair_is_measured_in_parts(limit: int) -> None:
    """A double-precision product takes a bounded memory, and many candidates are measured a few at a time."""
    rng = np.random.default_rng(2)
    bags, others = random_bags(rng, 2, 40, 24, alike=0.9), random_bags(rng, 2, 33, 24, alike=0.9)
    small = {"DOUBLE_PRODUCT_VALUES": 7 * 33, "MEASURED_VALUES": 5 * 24}
    with limits(CANDIDATES_A_PATCH=limit, **small), CountProducts() as counted:
        forward, backward = gpu.mutual_nearest_distances(bags, others, device="cpu")
    assert len(counted.shapes.get(torch.float64, [])) == (0 if limit else 4 * 6)
    np.testing.assert_allclose(forward, brute_force(bags, others), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(backward, brute_force(others, bags), rtol=0, atol=TOLERANCE)


def test_little_free_memory_makes_smaller_tiles_and_too_little_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles shrink with the device's free memory; where not even one pair fits, the message has the numbers."""
    shape = (32, 1024, 512)
    tiles = [gpu._plan_tile(shape, shape, free=free << 20) for free in (8_000, 1_600, 1_200, 1_000)]
    assert tiles[0] == (8, 8)
    pairs = [rows * columns for rows, columns in tiles]
    assert pairs == sorted(set(pairs), reverse=True)
    bags = random_bags(np.random.default_rng(0), 2, 5, 8)
    expected = gpu.nearest_distances_within(bags, device="cpu")
    monkeypatch.setattr(gpu, "_free_bytes", lambda device: 1 << 30)
    np.testing.assert_array_equal(gpu.nearest_distances_within(bags, device="cpu"), expected)
    monkeypatch.setattr(gpu, "_free_bytes", lambda device: 1 << 20)
    with pytest.raises(
        ResourceError, match=r"2 with 2 images needs .* of 1\.0 MiB that are free, 512\.0 KiB.*--device"
    ):
        gpu.nearest_distances_within(bags, device="cpu")


@devices
def test_groups_without_images_are_fine(device: str) -> None:
    """No image on one side gives no distances, and no error."""
    bags, none = random_bags(np.random.default_rng(0), 2, 3, 4), np.empty((0, 3, 4), np.float32)
    assert gpu.nearest_distances(none, bags, device=device).shape == (0, 2, 3)
    mutual = gpu.mutual_nearest_distances(bags, none, device=device)
    assert [distances.shape for distances in mutual] == [(2, 0, 3), (0, 2, 3)]
    assert gpu.nearest_distances_within(none, device=device).shape == (0, 0, 3)


def test_settings_of_torch_and_bags_are_left_as_they_were() -> None:
    """Bags may be read-only, and how torch multiplies elsewhere does not change."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_fp16_reduced_precision_reduction
    bags = random_bags(np.random.default_rng(0), 2, 3, 4)
    bags.flags.writeable = False
    gpu.nearest_distances_within(bags, device="cpu")
    with pytest.raises(RuntimeError, match="nothing"), gpu._summed_in_single():
        assert not matmul.allow_fp16_reduced_precision_reduction
        raise RuntimeError("nothing")
    assert matmul.allow_fp16_reduced_precision_reduction == before
    assert not torch.is_inference_mode_enabled()


good = random_bags(np.random.default_rng(0), 2, 3, 4)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        pytest.param(good[0], "shape", id="two-dimensional"),
        pytest.param(good * 1.01, "norm", id="not of unit norm"),
        pytest.param(random_bags(np.random.default_rng(0), 1, 3, 5), "4 and 5|5 and 4", id="another backbone"),
    ],
)
def test_arrays_that_are_no_bags_are_refused(bad: Bags, message: str) -> None:
    """What the plain kernel refuses is refused here."""
    for left, right in ((good, bad), (bad, good)):
        for measure in (gpu.nearest_distances, gpu.mutual_nearest_distances):
            with pytest.raises(ArrayContractError, match=message):
                measure(left, right, device="cpu")
