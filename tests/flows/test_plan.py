from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from builders import digest, manifest_of

from anoclust_core.config import RunConfig
from anoclust_core.records import EmbeddingSpec, SetAside
from anoclust_core.versions import ALGORITHM_VERSIONS
from flows import plan

SPEC = EmbeddingSpec("tiny", "tiny", "random", (2,), 64, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (4, 4), 8)
IMAGES = manifest_of([digest(f"{number}") for number in range(4)])


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        ("embed", set()),
        ("pair", {"embedding", "embed"}),
        ("weigh", {"embedding", "embed", "distances", "pair"}),
        ("group", {"embedding", "embed", "distances", "pair", "weigh"}),
        ("evaluate", {"embedding", "embed", "distances", "pair", "weigh", "group"}),
        ("report", {"embedding", "embed", "distances", "pair", "weigh", "group", "evaluate"}),
    ],
)
def test_new_version_of_a_stage_makes_it_and_all_after_it_anew(monkeypatch, stage, kept):
    """A stage whose algorithm changed never takes its old results for new ones, nor does any stage after it."""
    before = asdict(plan.plan_run(IMAGES, RunConfig(), SPEC))
    monkeypatch.setattr(plan, "ALGORITHM_VERSIONS", {**ALGORITHM_VERSIONS, stage: ALGORITHM_VERSIONS[stage] + 1})
    after = asdict(plan.plan_run(IMAGES, RunConfig(), SPEC))
    keys = {"embedding", "embed", "distances", "pair", "weigh", "group", "evaluate", "run"}
    assert {name for name in keys if before[name] == after[name]} == kept


def test_touched_images_are_the_same_run():
    """When files were changed, and where they lie, enters no key: the same contents are the same run."""
    touched = tuple(replace(image, mtime_ns=7, file=f"/elsewhere{image.file}") for image in IMAGES.images)
    assert plan.plan_run(replace(IMAGES, images=touched), RunConfig(), SPEC) == plan.plan_run(IMAGES, RunConfig(), SPEC)


@pytest.mark.parametrize("where", ["quarantine", "deferred"])
def test_files_that_were_set_aside_are_shown(where):
    """A file that takes no part computes nothing anew, but makes a new run: its report tells of it."""
    before = plan.plan_run(IMAGES, RunConfig(), SPEC)
    after = plan.plan_run(replace(IMAGES, **{where: (SetAside("a.png", "why"),)}), RunConfig(), SPEC)
    assert after.run != before.run
    assert replace(after, run=before.run) == before
