"""Every event about a night against its past is sent when it should be, and the first line says the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.streams import CATEGORY, Stream, day, night_config, surface
from numpy.typing import NDArray

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

USUAL = (*("good",) * 6, *("hole",) * 2)
N_NIGHTS = 6


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> Stream:
    """Make six nights that are alike, for tests to copy."""
    config = night_config(checkpoint, recluster_every="none", **{"night.recluster_unknown": 1.0})
    stream = Stream(tmp_path_factory.mktemp("begun"), config)
    for number in range(N_NIGHTS):
        stream.deliver(number, USUAL * 5 if number == 0 else USUAL)
        stream.night(number)
    return stream


@pytest.fixture
def stream(begun: Stream, tmp_path: Path) -> Stream:
    """Copy them."""
    return begun.copied(tmp_path / "stream")


def tonight(
    stream: Stream, classes: Sequence[str], change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = np.asarray
) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    """Live through one more night, its pictures changed; give its events, and its first line."""
    for at, label in enumerate(classes):
        path = stream.data / CATEGORY / str(day(N_NIGHTS)) / f"{at:02d}-{label}.png"
        stream.put(path, change(surface(1000 * N_NIGHTS + at, label)), label)
    outcome = stream.night(N_NIGHTS)
    return [one for one in stream.events() if one[1]["night"] == str(day(N_NIGHTS))], outcome.line


def test_a_usual_night_has_nothing_to_do(stream: Stream) -> None:
    """One more night like the others."""
    assert tonight(stream, USUAL) == ([], "nothing to do")


def test_a_surge_is_told(stream: Stream) -> None:
    """Eight holes where two are usual: the cluster grows, and the line has the figures of the event."""
    events, line = tonight(stream, (*("good",) * 6, *("hole",) * 8))
    (payload,) = (payload for event, payload in events if event == "anoclust.cluster.growing")
    assert payload["n_images"] == 8
    assert payload["value"] >= payload["limit"] > payload["expected"]
    assert f"{payload['cluster']} grows (8 tonight, {payload['expected']:.0f} expected)" in line


def test_a_surge_of_the_night_before_is_told_once(stream: Stream) -> None:
    """A command that runs after the day starts takes up images of a night that is over; its report says of which."""
    stream.deliver(N_NIGHTS, (*("good",) * 6, *("hole",) * 8))
    outcome = stream.night(N_NIGHTS + 1)
    (payload,) = (payload for event, payload in stream.events() if event == "anoclust.cluster.growing")
    assert (payload["n_images"], payload["of_night"]) == (8, str(day(N_NIGHTS)))
    assert payload["night"] == str(day(N_NIGHTS + 1))
    assert f"{payload['cluster']} grows (8 in the night of {day(N_NIGHTS)}, " in str(outcome.line)
    page = Path(str(outcome.report)).read_text(encoding="utf-8")
    assert f"{CATEGORY}/{day(N_NIGHTS)}/13-hole.png" in page
    assert "14 new images, 14 of them of earlier nights" in page
    assert "8 came late; " in page
    assert "from tonight" not in page
    stream.deliver(N_NIGHTS, ("hole",), first=20)
    stream.night(N_NIGHTS + 1)
    assert len(stream.told("anoclust.cluster.growing")) == 1


def test_darker_pictures_are_the_cameras(stream: Stream) -> None:
    """A lamp that fails changes every picture; the line says that it is not the product, before everything else."""
    events, line = tonight(stream, USUAL, lambda pixels: (pixels * 0.6).astype(np.uint8))
    assert ("anoclust.camera", "brightness") in [(event, payload.get("what")) for event, payload in events]
    assert line.split(": ", 1)[1].startswith("the camera, not the product: ")


def test_blurred_pictures_are_the_cameras(stream: Stream) -> None:
    """A lens out of focus."""
    from scipy.ndimage import gaussian_filter

    events, line = tonight(stream, USUAL, lambda pixels: gaussian_filter(pixels, (2, 2, 0)))
    assert ("anoclust.camera", "sharpness") in [(event, payload.get("what")) for event, payload in events]
    assert "the camera, not the product: " in line


def test_one_picture_again_and_again_is_the_cameras(stream: Stream) -> None:
    """Pictures that differ by noise alone."""
    draws, first = np.random.default_rng(0), surface(1, "good").astype(np.int16)
    events, line = tonight(
        stream, USUAL, lambda _: np.clip(first + draws.integers(-1, 2, first.shape), 0, 255).astype(np.uint8)
    )
    assert ("anoclust.camera", "difference") in [(event, payload.get("what")) for event, payload in events]
    assert "the camera, not the product: " in line


def test_few_images_are_told(stream: Stream) -> None:
    """One image where eight are usual."""
    events, line = tonight(stream, USUAL[:1])
    assert [(event, payload["what"]) for event, payload in events] == [("anoclust.camera", "images")]
    assert line == "1 thing to look at: only 1 image came, 8 are usual"


def test_parts_that_are_rarer_are_told(stream: Stream) -> None:
    """Every part has a hole: rarity has shifted, and the cluster grows."""
    events, line = tonight(stream, ("hole",) * 8)
    assert ("anoclust.drift", "rarity") in [(event, payload.get("what")) for event, payload in events]
    assert "parts look rarer than before" in line


def test_unknown_images_are_told(stream: Stream) -> None:
    """Pictures of something else, each of another kind: they belong to no cluster."""
    draws = np.random.default_rng(0)

    def another(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Draw stripes of some width, direction and colour."""
        rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
        angle, width = draws.uniform(0, np.pi), draws.uniform(3, 40)
        waves = np.sin((rows * np.cos(angle) + columns * np.sin(angle)) * 2 * np.pi / width)
        return np.clip(128 + 127 * waves[..., None] * draws.uniform(-1, 1, 3), 0, 255).astype(np.uint8)

    events, line = tonight(stream, USUAL, another)
    assert ("anoclust.drift", "unknown") in [(event, payload.get("what")) for event, payload in events]
    assert "belong to no cluster" in line
