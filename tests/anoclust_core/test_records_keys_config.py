from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.builders import config_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from anoclust_core.config import GroupConfig, RunConfig
from anoclust_core.config.setting import flatten, parse_tau
from anoclust_core.errors import ConfigError
from anoclust_core.keys import KEY_LENGTH, content_key
from anoclust_core.records import DatasetManifest, EmbeddingSpec, ImageRecord, SetAside, unique_contents
from anoclust_core.seeding import generator

quick = settings(max_examples=25, deadline=None, database=None)

images = st.lists(
    st.builds(
        lambda name, content, role, label: ImageRecord(
            path=name, file=f"/data/{name}", sha256=content * 64, role=role, label=label
        ),
        name=st.text("abcdef/.", min_size=1, max_size=6),
        content=st.sampled_from("0123456789abcdef"),
        role=st.sampled_from(["cluster", "normal"]),
        label=st.sampled_from(["good", "crack", None]),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda image: image.path,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
json_parts = st.dictionaries(st.text(max_size=4), json_values, max_size=5)


def image(path: str, content: str = "", **changes: Any) -> ImageRecord:
    return replace(ImageRecord(path, f"/data/{path}", (content or path)[0] * 64, "cluster"), **changes)


def manifest(*records: ImageRecord, category: str = "tile") -> DatasetManifest:
    return DatasetManifest(category, tuple(sorted(records, key=lambda record: record.path)))


# Data sets


@quick
@given(images, st.randoms(use_true_random=False))
def test_renaming_relabelling_and_reordering_keep_the_data_set(records: list[ImageRecord], rng: Any) -> None:
    """The data set stays the same when files are renamed, moved, relabelled, masked, re-split or listed otherwise."""
    other = [
        replace(
            record, path=f"z{i}", file=f"/elsewhere/{i}", label="other", split="val", mask="/m.png", extra={"a": "b"}
        )
        for i, record in enumerate(records)
    ]
    rng.shuffle(other)
    assert DatasetManifest("other", tuple(other)).dataset_hash == manifest(*records).dataset_hash


@quick
@given(images, images)
def test_data_sets_are_equal_exactly_when_contents_and_roles_are(
    first: list[ImageRecord], second: list[ImageRecord]
) -> None:
    """Two data sets share a hash when they hold the same contents in the same roles, each equally often."""
    contents = [Counter((record.sha256, record.role) for record in records) for records in (first, second)]
    same_hash = manifest(*first).dataset_hash == manifest(*second).dataset_hash
    assert same_hash == (contents[0] == contents[1])


def test_one_changed_role_content_or_copy_makes_another_data_set() -> None:
    """A new role, another content, one more copy or one image less: each is another data set."""
    a, b = image("a"), image("b")
    different = [
        manifest(a, b),
        manifest(a, replace(b, role="normal")),
        manifest(a, replace(b, sha256="c" * 64)),
        manifest(a, b, image("a2", "a")),
        manifest(a, b, image("b2", "b")),
        manifest(a),
        manifest(),
    ]
    hashes = [dataset.dataset_hash for dataset in different]
    assert len(set(hashes)) == len(different)
    assert all(len(found) == KEY_LENGTH for found in hashes)


@quick
@given(images)
def test_arrays_are_in_the_order_of_the_contents(records: list[ImageRecord]) -> None:
    """Clustered images and normals are each sorted by content, then path, and nobody is lost."""
    dataset = manifest(*records)
    for role, found in [("cluster", dataset.clustered), ("normal", dataset.normals)]:
        assert set(map(id, found)) == {id(record) for record in records if record.role == role}
        order = [(record.sha256, record.path) for record in found]
        assert order == sorted(order)


@quick
@given(images)
def test_renaming_does_not_move_the_rows(records: list[ImageRecord]) -> None:
    """After files are renamed every row of every array still holds the same content."""
    renamed = [replace(record, path=record.path[::-1] + str(i)) for i, record in enumerate(records)]
    before, after = manifest(*records).clustered, manifest(*renamed).clustered
    assert [record.sha256 for record in before] == [record.sha256 for record in after]


def test_duplicates_are_the_clustered_files_with_the_same_bytes() -> None:
    """Byte-identical files to cluster are listed together; a normal with the same bytes is not one of them."""
    dataset = manifest(
        image("a1", "a"),
        image("b"),
        image("a2", "a"),
        image("a3", "a"),
        image("c1", "c"),
        image("c2", "c", role="normal"),
    )
    assert dataset.duplicates == (("a1", "a2", "a3"),)
    assert manifest(image("a"), image("b")).duplicates == ()


@quick
@given(images)
def test_distinct_contents_are_counted(records: list[ImageRecord]) -> None:
    """Every content stands once, in ascending order, with the number of its images."""
    hashes, counts = unique_contents(records)
    assert hashes == sorted({record.sha256 for record in records})
    assert counts == [sum(record.sha256 == sha256 for record in records) for sha256 in hashes]


def test_a_bad_image_moves_to_quarantine_with_all_its_copies() -> None:
    """An unreadable content goes into quarantine with the reason, every copy of it; the rest stays as it is."""
    earlier = SetAside("b0", "empty file")
    dataset = replace(manifest(image("a1", "a"), image("b"), image("a2", "a")), quarantine=(earlier,), notes=("note",))
    cleaned = dataset.without({"a" * 64: "truncated", "f" * 64: "not here"})
    assert [record.path for record in cleaned.images] == ["b"]
    assert cleaned.quarantine == (SetAside("a1", "truncated"), SetAside("a2", "truncated"), earlier)
    assert (cleaned.category, cleaned.notes) == (dataset.category, dataset.notes)
    assert cleaned.dataset_hash == manifest(image("b")).dataset_hash


@quick
@given(images, st.sets(st.sampled_from("0123456789abcdef")))
def test_quarantine_loses_no_file(records: list[ImageRecord], bad: set[str]) -> None:
    """However many contents are bad, every file is either used or in quarantine."""
    dataset = manifest(*records)
    cleaned = dataset.without({content * 64: "bad" for content in bad})
    assert cleaned.n_total == dataset.n_total == len(records)
    used = [record.path for record in cleaned.images]
    assert sorted(used + [entry.path for entry in cleaned.quarantine]) == sorted(record.path for record in records)
    assert not {record.sha256[0] for record in cleaned.images} & bad
    assert dataset.without({}) == dataset


@quick
@given(images, st.sets(st.sampled_from("0123456789abcdef")), st.sets(st.sampled_from("0123456789abcdef")))
def test_total_is_what_was_clustered_normal_quarantined_and_deferred(
    records: list[ImageRecord], bad: set[str], late: set[str]
) -> None:
    """Whatever is set aside in whatever order, the counts add up, and only the images left make the dataset's hash."""
    dataset = manifest(*records)
    not_bad = dataset.without({content * 64: "bad" for content in bad})
    found = not_bad.deferring({content * 64: "late" for content in late})
    assert found.n_total == len(records)
    assert found.n_total == len(found.clustered) + len(found.normals) + len(found.quarantine) + len(found.deferred)
    assert {entry.reason for entry in found.deferred} <= {"late"}
    assert [entry.path for entry in found.deferred] == sorted(entry.path for entry in found.deferred)
    assert found.dataset_hash == manifest(*found.images).dataset_hash
    assert found.bad_share == (len(found.quarantine) / max(1, found.n_total - len(found.deferred)))
    assert not_bad.deferring({}) == not_bad


def test_the_number_of_patches_is_that_of_the_grid() -> None:
    """A grid of 14 by 15 cells makes bags of 210 patches."""
    spec = EmbeddingSpec("b", "b", "w", (1,), 224, "bicubic", (0,) * 3, (1,) * 3, 3, (14, 15), 120)
    assert spec.n_patches == 210


# Keys


@quick
@given(st.text(max_size=5), json_parts)
def test_a_key_does_not_depend_on_the_order_of_its_parts(stage: str, parts: dict[str, object]) -> None:
    """The same parts give the same key, in whatever order they are written down, at every depth."""

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(inner) for key, inner in reversed(value.items())}
        return [turned(inner) for inner in value] if isinstance(value, list) else value

    key = content_key(stage, parts)
    assert key == content_key(stage, turned(parts))
    assert len(key) == KEY_LENGTH
    assert set(key) <= set("0123456789abcdef")


@quick
@given(json_parts, json_parts)
def test_other_parts_give_another_key(first: dict[str, object], second: dict[str, object]) -> None:
    """Keys are equal exactly when the parts are the same JSON; 1, 1.0, true and "1" are four things."""
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (content_key("pair", first) == content_key("pair", second)) == same
    assert content_key("pair", {**first, "more": 1}) not in {
        content_key("pair", first | {"more": x}) for x in (1.0, True, "1")
    }


def test_two_stages_with_equal_parts_have_different_keys() -> None:
    """The name of the stage is part of its key."""
    keys = {content_key(stage, {"a": 1}) for stage in ("embed", "pair", "weigh")}
    assert len(keys) == 3


def test_a_key_sees_the_last_digit_of_a_float() -> None:
    """Two temperatures that differ in the last bit are two keys."""
    assert content_key("weigh", {"tau": 0.3}) != content_key("weigh", {"tau": math.nextafter(0.3, 1)})


def test_keys_stay_what_they_are() -> None:
    """Stores that were written by an earlier version are found again: the way keys are made never changes silently."""
    assert content_key("pair", {"b": [1, "ü"], "a": 0.1}) == "8555381ea870b1aa3ffc20ef8c7dad60"


@pytest.mark.parametrize("part", [object(), {1, 2}, b"bytes", np.float32(1), np.arange(2), 1j, ("a", object())])
def test_a_part_that_is_no_json_value_is_refused(part: object) -> None:
    """A key never depends on how an object happens to print."""
    with pytest.raises(TypeError):
        content_key("pair", {"part": part})


@pytest.mark.parametrize("part", [math.nan, math.inf])
def test_a_part_that_is_not_finite_is_refused(part: float) -> None:
    """NaN and infinity are no JSON values."""
    with pytest.raises((TypeError, ValueError)):
        content_key("pair", {"part": part})


# Configuration


def test_the_defaults_are_valid_and_survive_json() -> None:
    """A run without any option is valid, and written to JSON and read back it is the same."""
    config = RunConfig()
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert config.weigh.tau == "0.3sd"
    assert (config.recipe, config.protocol) == ("auto", "sohn")


def test_a_hausdorff_distance_takes_recipe_sohn() -> None:
    """Recipe auto has no distances between bags: where no recipe is asked for, the one that has them is taken."""
    assert RunConfig.model_validate({"group": {"distance": "min_min"}}).recipe == "sohn"
    assert RunConfig(group=GroupConfig(distance="min_min")).recipe == "sohn"
    with pytest.raises(ValidationError, match="omit --distance, or use recipe sohn"):
        RunConfig.model_validate({"recipe": "auto", "group": {"distance": "min_min"}})


@pytest.mark.parametrize("name", ["n_cluster", "Tau", "back_bone", "imagesize"])
def test_a_misspelt_option_is_refused(name: str) -> None:
    """A field that does not exist is an error that names it, not an option without effect."""
    with pytest.raises(ValidationError, match=name):
        RunConfig.model_validate({name: 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recipe", "shon"),
        ("splits", "train"),
        ("n_clusters", 0),
        ("n_clusters", 2.5),
        ("n_clusters", "many"),
        ("tau", "hot"),
        ("tau", "0sd"),
        ("tau", -0.3),
        ("image_size", 31),
        ("image_size", 4097),
        ("seed", -1),
        ("device", "gpu"),
        ("device", "cuda:"),
        ("device", "cuda:one"),
        ("device", "cpu\n"),
        ("layers", ["second"]),
        ("backbone", None),
    ],
)
def test_a_bad_value_is_refused(name: str, value: object) -> None:
    """A value out of range or of the wrong kind is an error before anything runs."""
    with pytest.raises((ConfigError, ValidationError)):
        config_of(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recipe", "sohn"),
        ("n_clusters", 1),
        ("image_size", 32),
        ("device", "cuda:12"),
        ("layers", (1, 2)),
        ("tau", "3"),
    ],
)
def test_a_good_value_is_kept(name: str, value: object) -> None:
    """Values at the edge of what is allowed are taken as they are."""
    flat = flatten(config_of(**{name: value}).model_dump())
    assert {key.rpartition(".")[2]: kept for key, kept in flat.items()}[name] == value


def test_a_configuration_cannot_be_changed() -> None:
    """What a run was asked to do stays what it was."""
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("first", "second"), [("0.30sd", "0.3sd"), (" 0.3 sd ", "0.3sd"), ("2e-2", "0.02"), ("+1.0", "1"), (".5", "0.50")]
)
def test_one_temperature_written_in_two_ways_is_one_run(first: str, second: str) -> None:
    """0.30sd and 0.3sd are one configuration, so a run is found again however its tau was typed."""
    assert config_of(tau=first) == config_of(tau=second)


@quick
@given(st.floats(1e-9, 1e9), st.sampled_from(["", "sd"]))
def test_the_temperature_that_was_asked_for_is_used(value: float, suffix: str) -> None:
    """Whatever its number of digits, the tau of a run is the tau that was typed, and two taus are two runs."""
    assert parse_tau(config_of(tau=f"{value!r}{suffix}").weigh.tau) == (value, suffix == "sd")


# Randomness


def test_the_same_seed_and_stage_repeat_the_same_draws() -> None:
    """A repeated run draws the same numbers."""
    first, second = (generator(7, "group").random(20) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_stages_and_seeds_have_streams_of_their_own() -> None:
    """No two stages and no two seeds draw the same numbers."""
    draws = {
        tuple(generator(seed, stage).random(4)) for seed in (0, 1, 2**40) for stage in ("localize", "describe", "group")
    }
    assert len(draws) == 9


def test_a_stage_does_not_move_the_draws_of_another() -> None:
    """Draws of one stage stay the same, however many another stage makes in between, and NumPy's own stay untouched."""
    alone = generator(0, "group").random(4)
    state = np.random.get_state(legacy=False)["state"]["pos"]  # noqa: NPY002  the global state is what is watched
    generator(0, "embed").random(1000)
    np.testing.assert_array_equal(generator(0, "group").random(4), alone)
    assert np.random.get_state(legacy=False)["state"]["pos"] == state  # noqa: NPY002
