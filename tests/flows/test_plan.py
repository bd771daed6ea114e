from __future__ import annotations

from dataclasses import asdict

import pytest
from builders import digest, manifest_of

from anoclust_core.config import RunConfig
from anoclust_core.records import EmbeddingSpec
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
