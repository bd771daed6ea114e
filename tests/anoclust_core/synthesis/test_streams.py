"""Streams of nights: the same plan for the same seed, and truths that agree with the images."""

from __future__ import annotations

import builtins
import socket
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from anoclust_core.errors import ConfigError
from anoclust_core.synthesis.pictures import draw_image
from anoclust_core.synthesis.stream_records import GOOD, SURFACES, Stream, StreamImage, Truth, TruthKind
from anoclust_core.synthesis.streams import plan_stream

SEEDS = range(20)
plan = cache(plan_stream)
every_seed = pytest.mark.parametrize("seed", SEEDS)


def photographs() -> Mapping[str, NDArray[np.uint8]]:
    """Grey grain of a surface's usual size and spread, another one for each name."""
    return {
        name: np.random.default_rng(at).normal(120, 30, size=(150, 150)).clip(0, 255).astype(np.uint8)
        for at, name in enumerate(SURFACES)
    }


def truths(kind: TruthKind) -> list[tuple[Stream, Truth]]:
    """Every truth of a kind in the seeds that are for tuning."""
    return [(plan(seed), truth) for seed in SEEDS for truth in plan(seed).truths if truth.kind == kind]


def own(stream: Stream, night: int, label: str | None = None) -> list[StreamImage]:
    """Files of a night that are no copies, of one class or all."""
    return [image for image in stream.on(night) if not image.is_copy and label in {None, image.label}]


def usual(stream: Stream, label: str | None, until: int) -> float:
    """Mean number of images a night, over the nights with images before one."""
    counts = [len(own(stream, night, label)) for night in range(1, until) if own(stream, night)]
    return float(np.mean(counts))


@every_seed
def test_a_seed_gives_one_plan(seed: int) -> None:
    """The same seed gives the same stream, another one gives another."""
    assert plan_stream(seed) == plan(seed)
    assert plan_stream(seed + 1) != plan(seed)


@pytest.mark.parametrize("kind", get_args(TruthKind))
def test_every_kind_of_truth_occurs(kind: TruthKind) -> None:
    """The seeds that are for tuning have every kind at least twice, so that none is reported unseen."""
    assert len(truths(kind)) >= 2


def test_streams_differ() -> None:
    """Some streams are mostly good and some mostly defects; some weeks have gaps; nights differ in size."""
    streams = [plan(seed) for seed in SEEDS]
    assert {stream.is_mostly_good for stream in streams} == {True, False}
    shares = [np.mean([image.is_good for image in stream.images]) for stream in streams]
    assert min(shares) < 0.3
    assert max(shares) > 0.6
    assert {any(truth.kind == "gap" for truth in stream.truths) for stream in streams} == {True, False}
    for stream in streams:
        counts = {len(own(stream, night)) for night in range(1, stream.n_nights)}
        assert len(counts) > 5


@every_seed
def test_classes_of_the_first_night_are_plain_to_see(seed: int) -> None:
    """Every class that is not new has five images in the first night."""
    stream = plan(seed)
    begin = {truth.label for truth in stream.truths if truth.kind in {"new", "design"}}
    first = Counter(image.label for image in stream.on(0))
    for label in {image.label for image in stream.images} - begin:
        assert first[label] >= 5
    assert not begin & first.keys()


@every_seed
def test_a_new_class_can_be_told_on_the_night_of_its_third_image(seed: int) -> None:
    """The truth names the night of the first image and of the third, and ends one night with images later."""
    stream = plan(seed)
    for truth in stream.truths:
        if truth.kind in {"new", "design"}:
            nights = [image.night for image in stream.images if image.label == truth.label and not image.is_copy]
            assert nights[0] == truth.begins
            assert nights[2] == truth.first
            assert truth.last == min(image.night for image in stream.images if image.night > truth.first)


def test_new_classes_begin_slowly_or_at_once() -> None:
    """On its first night a new class has one or two images, or four and more."""
    counts = {len(own(stream, truth.begins, truth.label)) for stream, truth in truths("new")}
    assert counts & {1, 2}
    assert max(counts) >= 4


def test_a_surge_is_several_times_the_usual() -> None:
    """A class that surges has seven images and more, and twice what it ever had in a usual night before."""
    for stream, truth in truths("surge"):
        tonight = len(own(stream, truth.first, truth.label))
        assert tonight >= 7
        assert tonight > 2.5 * usual(stream, truth.label, truth.first) or truth.label != GOOD
        assert truth.begins == truth.first == truth.last


def test_growth_doubles_in_ten_nights() -> None:
    """Over all streams, classes that grow have about twice the images from doubling to the end of the time for it."""
    before, after = [], []
    for stream, truth in truths("growth"):
        assert truth.first == truth.begins + 10
        assert truth.last == truth.first + 5
        nights = [night for night in range(truth.first, truth.last + 1) if own(stream, night)]
        before.append(usual(stream, truth.label, truth.begins))
        after.append(np.mean([len(own(stream, night, truth.label)) for night in nights]))
    assert 1.8 < np.mean(after) / np.mean(before) < 3


def test_silence_gaps_and_halves() -> None:
    """A silent night and a gap of the week have no image; a gap comes every week, silence does not; half is half."""
    for stream, truth in truths("missing"):
        assert stream.on(truth.begins) == []
        assert any(stream.on(night) for night in range(truth.begins % 7, truth.begins, 7))
    for stream, truth in truths("gap"):
        assert stream.on(truth.begins) == []
        assert not any(stream.on(night) for night in range(truth.begins % 7, stream.n_nights, 7))
    shares = [len(own(stream, truth.begins)) / usual(stream, None, truth.begins) for stream, truth in truths("half")]
    assert 0.3 < np.mean(shares) < 0.6


def test_a_stuck_camera_shows_one_scene() -> None:
    """All pictures of such a night show the same scene: the same file, or the same but for noise."""
    is_one_file = set()
    for stream, truth in truths("alike"):
        tonight = stream.on(truth.begins)
        assert len({image.scene for image in tonight}) == 1
        assert all(image.is_good and "alike" in image.marks for image in tonight)
        is_one_file.add(len({image.shot for image in tonight}) == 1)
    assert is_one_file == {True, False}


def test_doubled_deliveries_are_the_files_of_the_night_before() -> None:
    """Their copies have bytes that were there before; nothing else has, but for a stuck camera."""
    for stream, truth in truths("doubled"):
        copies = [image for image in stream.on(truth.begins) if image.is_copy]
        known = {image.shot for image in stream.images if image.night < truth.begins}
        assert copies
        assert {image.shot for image in copies} <= known
    for seed in SEEDS:
        stream = plan(seed)
        doubled = {truth.begins for truth in stream.truths if truth.kind == "doubled"}
        assert all(image.night in doubled or "alike" in image.marks for image in stream.images if image.is_copy)


def test_images_say_what_they_were_made_under() -> None:
    """Marks begin with their truth: all images after a jump, some after a second camera was added."""
    for kind in ("jump", "drift", "second camera", "design"):
        for stream, truth in truths(kind):
            marked = [kind in image.marks for image in stream.images if image.night > truth.begins]
            before = [kind in image.marks for image in stream.images if image.night < truth.begins]
            assert not any(before)
            assert np.mean(marked) > 0.3
            if kind in {"jump", "drift"}:
                assert all(marked)


def test_drift_is_slow() -> None:
    """Brightness or sharpness changes a little every night, and by a lot in the end."""
    for stream, truth in truths("drift"):

        def level(night: int, stream: Stream = stream) -> tuple[float, float]:
            tonight = own(stream, night)
            return float(np.mean([one.taken.gain for one in tonight])), float(
                np.mean([one.taken.blur for one in tonight])
            )

        nights = [night for night in range(truth.begins, truth.last + 1) if own(stream, night)]
        gains, blurs = np.array([level(night) for night in nights]).T
        assert abs(np.log(gains[-1] / gains[0])) > 0.2 or blurs[-1] - blurs[0] > 0.5
        assert np.abs(np.diff(np.log(gains))).max() < 0.2
        assert np.abs(np.diff(blurs)).max() < 0.35


def test_a_class_that_has_ended_never_comes_back() -> None:
    """No image of it is delivered from then on, but for copies."""
    for stream, truth in truths("ended"):
        assert not [
            one for one in stream.images if one.label == truth.label and one.night >= truth.begins and not one.is_copy
        ]


def test_a_picture_depends_on_the_seed_and_the_image_alone() -> None:
    """Files with one shot are equal, the same scene taken twice differs by noise, and another image is another."""
    stream, truth = next((s, t) for s, t in truths("alike") if len({image.shot for image in s.on(t.begins)}) > 1)
    first, second = stream.on(truth.begins)[:2]
    other = stream.on(truth.begins - 1)[0]
    drawn = [draw_image(stream, image, photographs()).astype(int) for image in (first, first, second, other)]
    assert np.array_equal(drawn[0], drawn[1])
    assert 0 < np.abs(drawn[0] - drawn[2]).mean() < 5
    assert np.abs(drawn[0] - drawn[3]).mean() > 5


def test_a_second_camera_delivers_smaller_pictures() -> None:
    """Its pictures have fewer pixels; everything is there in colour."""
    stream, _ = truths("second camera")[0]
    sides = {
        draw_image(stream, image, photographs()).shape
        for image in (
            next(image for image in stream.images if "second camera" in image.marks),
            next(image for image in stream.images if "second camera" not in image.marks),
        )
    }
    assert sides == {(106, 106, 3), (112, 112, 3)}


def test_nothing_is_read_or_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning and drawing open no file and no socket."""
    surfaces = photographs()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was opened")

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    stream = plan_stream(3)
    draw_image(stream, stream.images[0], surfaces)


def test_what_makes_no_stream_is_refused() -> None:
    """A negative seed, too few nights and a missing photograph are refused in words."""
    with pytest.raises(ConfigError, match="at least 30 nights, got 1 and 12"):
        plan_stream(1, n_nights=12)
    with pytest.raises(ConfigError, match="seed of 0 or more"):
        plan_stream(-1)
    stream = plan(0)
    with pytest.raises(ConfigError, match="expected the photograph"):
        draw_image(stream, stream.images[0], {"grass": photographs()["grass"]} if stream.surface != "grass" else {})
