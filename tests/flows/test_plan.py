from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.builders import digest, manifest_of

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError
from anoclust_core.records import Detector, EmbeddingSpec, SetAside
from flows import plan
from tasks.stores import stage_keys

SPEC = EmbeddingSpec("tiny", "tiny", "random", (2,), 64, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (4, 4), 8)
IMAGES = manifest_of([digest(f"{number}") for number in range(4)])


SOHN = RunConfig(recipe="sohn")


def keys_of(config: RunConfig = SOHN) -> dict[str, str | None]:
    """Keys of all stages of a run."""
    made = plan.plan_run(IMAGES, config, SPEC)
    return {**made.told, "embed": made.images.embed, "run": made.run}


PAIRED = ("embedding", "embed", "distances", "pair", "near_duplicates")


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        ("embed", set()),
        ("pair", {"embedding", "embed"}),
        ("weigh", {*PAIRED}),
        ("group", {*PAIRED, "weigh"}),
        ("evaluate", {*PAIRED, "weigh", "group"}),
        ("report", {*PAIRED, "weigh", "group", "evaluate"}),
    ],
)
def test_new_version_of_a_stage_makes_it_and_all_after_it_again(monkeypatch, stage, kept):
    """A stage whose algorithm changed never takes its old results for new ones, nor does any stage after it."""
    before = keys_of()
    raised = replace(stage_keys.STAGES[stage], version=stage_keys.STAGES[stage].version + 1)
    monkeypatch.setattr(stage_keys, "STAGES", {**stage_keys.STAGES, stage: raised})
    after = keys_of()
    assert {name for name in before if before[name] == after[name]} == kept


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"weigh": {"weights": "uniform"}}, {"weigh", "group", "evaluate", "run"}),
        ({"weigh": {"tau": "0.1sd"}}, {"weigh", "group", "evaluate", "run"}),
        ({"group": {"linkage": "average"}}, {"group", "evaluate", "run"}),
        ({"group": {"distance": "max_min_max"}}, {"group", "evaluate", "run"}),
    ],
)
def test_new_setting_makes_its_stage_and_all_after_it_again(settings, changed):
    """A setting enters the key of the stage that uses it, and no earlier one."""
    before, after = keys_of(), keys_of(RunConfig.model_validate({"recipe": "sohn", **settings}))
    assert {name for name in before if before[name] != after[name]} == changed


@pytest.mark.parametrize("weights", ["maps:{folder}", "detector:model.xml"])
def test_distances_between_images_are_part_of_a_run_by_maps(tmp_path, weights):
    """Weights of maps or a detector need no distances, a Hausdorff distance does: another window is another run."""
    (tmp_path / "cluster").mkdir()
    np.save(tmp_path / f"{IMAGES.clustered[0].path}.npy", np.zeros((4, 4)))
    weigh = {"weights": weights.format(folder=tmp_path)}
    detector = Detector("model.xml", "digest") if "detector" in weights else None
    plans = [
        plan.plan_run(
            IMAGES,
            RunConfig.model_validate({"recipe": "sohn", "weigh": weigh, "group": {"distance": distance}}),
            replace(SPEC, aligned_within=within, detector=detector),
        )
        for distance in ("mean_min_max", "weighted_average")
        for within in (None, 0, 2)
    ]
    assert len({made.run for made in plans[:3]}) == 3
    assert len({made.run for made in plans[3:]}) == 1  # clustered by descriptors, which follow from the maps


def test_touched_images_are_the_same_run():
    """When files were changed, and where they lie, enters no key: the same contents are the same run."""
    touched = tuple(replace(image, mtime_ns=7, file=f"/elsewhere{image.file}") for image in IMAGES.images)
    assert plan.plan_run(replace(IMAGES, images=touched), RunConfig(), SPEC) == plan.plan_run(IMAGES, RunConfig(), SPEC)


@pytest.mark.parametrize("where", ["quarantine", "deferred"])
def test_files_that_were_set_aside_are_shown(where):
    """A file that takes no part computes nothing again, but makes a new run: its report tells of it."""
    before = plan.plan_run(IMAGES, RunConfig(), SPEC)
    after = plan.plan_run(replace(IMAGES, **{where: (SetAside("a.png", "why"),)}), RunConfig(), SPEC)
    assert after.run != before.run
    assert replace(after, run=before.run) == before


def test_every_stage_has_an_algorithm_version() -> None:
    """Each stage of a run has a version >= 1, and nobody can change it at run time."""
    stages = {"embed", "pair", "localize", "describe", "weigh", "group", "evaluate", "measure", "report"}
    assert set(stage_keys.STAGES) >= stages
    assert all(stage.version >= 1 for stage in stage_keys.STAGES.values())
    with pytest.raises(TypeError):
        stage_keys.STAGES["embed"] = stage_keys.STAGES["decode"]  # type: ignore[index]


@pytest.mark.parametrize("stage", ["pair", "whiten", "group"])
def test_recipe_auto_has_a_stage_of_its_own(monkeypatch, stage):
    """Recipe auto shares embeddings and distances with sohn, and makes weights, trees and run under keys of its own."""
    before, of_sohn = keys_of(RunConfig()), keys_of()
    shared = set(PAIRED)
    assert {name for name in before if before[name] == of_sohn.get(name)} == shared
    raised = replace(stage_keys.STAGES[stage], version=stage_keys.STAGES[stage].version + 1)
    monkeypatch.setattr(stage_keys, "STAGES", {**stage_keys.STAGES, stage: raised})
    after = keys_of(RunConfig())
    kept = {"pair": {"embedding", "embed"}, "whiten": shared, "group": {*shared, "weigh", "whiten"}}
    assert {name for name in before if before[name] == after[name]} == kept[stage]


def test_bounds_ask_no_labels():
    """LOW:HIGH bounds what is suggested; it is another partition, and the labels do not decide its number."""
    bounded = plan.plan_run(IMAGES, RunConfig.model_validate({"group": {"n_clusters": "2:3"}}), SPEC)
    assert (bounded.n_clusters, bounded.n_clusters_rule) == (None, "suggested without labels")
    assert bounded.keys["group"] != plan.plan_run(IMAGES, RunConfig(), SPEC).keys["group"]
    with pytest.raises(ConfigError, match="has only 4 images"):
        plan.plan_run(IMAGES, RunConfig.model_validate({"group": {"n_clusters": "5:9"}}), SPEC)
