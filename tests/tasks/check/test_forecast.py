"""Forecasts grow with the work as the run does, and follow the speed of the machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.builders import config_of

from anoclust_core.embedding.backbones import NetworkSize
from anoclust_core.errors import ResourceError
from anoclust_core.records import Cover, EmbeddingSpec
from tasks.check.forecast import Speed, Trial, Work, fixed_seconds, forecast_memory, forecast_seconds
from tasks.compute.embedding import Limits, Network
from tasks.stages.report import DRAWN_PER_CLUSTER

SPEC = EmbeddingSpec("x", "x", "0", (2,), 256, "bilinear", (0.5,) * 3, (0.5,) * 3, 3, (16, 16), 120)
TRIAL = Trial("cpu", Network(lambda images: images, NetworkSize(1 << 20, 1 << 20)), Limits(2, 4, 1 << 30), 2.0, 0.1)
SPEED = Speed(slowness=1.0, flops=1e11)
EACH = {"read_seconds": 0.01, "look_seconds": 0.02}
WORK = Work(
    n_files=120, n_embedded=100, n_images=100, n_contents=100, n_reference=100, n_pairs=4950, has_normals=False,
    n_clusters=None,
)  # fmt: skip


def memory(work: Work, budget: int = 1 << 40, pixels: int = 1 << 16) -> dict[str, int]:
    found = forecast_memory(work, config_of(), SPEC, TRIAL, memory_budget=budget, largest_pixels=[pixels] * 9)
    return dict(found)


def test_twice_the_images_take_twice_the_embedding_and_four_times_the_pairs() -> None:
    """Each part grows as its work does; what is done once does not."""
    twice = replace(WORK, n_files=240, n_embedded=200, n_images=200, n_contents=200, n_reference=200, n_pairs=19_900)
    one, two = (forecast_seconds(work, SPEC, TRIAL, SPEED, **EACH) for work in (WORK, twice))
    assert two["reading files"] == pytest.approx(2 * one["reading files"])
    assert two["embedding"] - one["embedding"] == pytest.approx(100 * TRIAL.image_seconds)
    assert two["comparing images"] == pytest.approx(one["comparing images"] * 19_900 / 4950)


def test_a_part_of_the_patches_takes_a_part_of_the_time() -> None:
    """A sixteenth of the patches, both ways, and the choosing: an eighth, and a tenth of that for a hundred images."""
    part = replace(SPEC, cover=Cover(16, 0))
    whole, some = (forecast_seconds(WORK, spec, TRIAL, SPEED, **EACH) for spec in (SPEC, part))
    assert some["comparing images"] == pytest.approx(whole["comparing images"] * (2 * 4950 + 10 * 100) / 4950 / 16)
    assert some["embedding"] == whole["embedding"]


def test_a_slower_machine_takes_longer() -> None:
    """What one core does follows the slowness, pairs the products a second; no image pairs, no compiling."""
    slow = Speed(slowness=3.0, flops=5e10)
    quick, late = (
        forecast_seconds(WORK, SPEC, TRIAL, speed, read_seconds=0, look_seconds=0) for speed in (SPEED, slow)
    )
    assert late["comparing images"] == pytest.approx(2 * quick["comparing images"])
    rest = "describing, clustering, reporting"
    assert late[rest] == pytest.approx(3 * quick[rest])
    assert sum(fixed_seconds(slow, compiles=True).values()) == pytest.approx(
        3 * sum(fixed_seconds(SPEED, compiles=True).values())
    )
    assert fixed_seconds(SPEED, compiles=False).keys() == {"starting and ending"}


def test_large_frames_take_time_beside_embedding() -> None:
    """Those that are laid on each other are decoded before, and those that the report shows after."""
    slow = EACH | {"look_seconds": 1.02}
    framed = replace(WORK, n_sampled=24, n_clusters=3)
    before, after = (forecast_seconds(framed, SPEC, TRIAL, SPEED, **each) for each in (EACH, slow))
    assert after["reading files"] - before["reading files"] == pytest.approx(24)
    drawn = after["describing, clustering, reporting"] - before["describing, clustering, reporting"]
    assert drawn == pytest.approx(framed.n_drawn) == 3 * DRAWN_PER_CLUSTER


def test_memory_is_what_the_stages_predict() -> None:
    """More images need more in some stage, larger files more for decoding, up to a limit; too much is refused."""
    many = replace(WORK, n_images=2000, n_contents=2000, n_reference=2000, n_pairs=1_999_000, n_embedded=2000)
    assert max(memory(many).values()) > max(memory(WORK).values())
    assert memory(WORK, pixels=1 << 24)["embed"] > memory(WORK)["embed"] + (2 << 24) * 10
    assert memory(WORK, pixels=1 << 27)["embed"] == memory(WORK, pixels=1 << 28)["embed"]
    with pytest.raises(ResourceError, match=r"stage \w+ needs"):
        memory(many, budget=200 << 20)
