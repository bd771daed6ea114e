from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.builders import config_of, digest, manifest_of

from anoclust_core.records import Reference
from benchmarks.stages import made_up_spec, without_prefect
from flows.stages import EmbeddedImages, compare_images
from tasks.compute.pair_blocks import Block
from tasks.stages import pair as stage
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import StageRunner
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import save_manifest


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:1"])
def test_images_are_compared_where_they_were_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """``--device`` holds for the pairwise stage too; with ``auto`` every worker chooses for itself."""
    asked: dict[str, Any] = {}
    blocks: list[Block] = []

    class Stages(StageRunner):
        def __call__(self, task: Any, *, key: str, detail: str, is_complete: bool, **work: Any) -> Any:
            asked.update(task=task, detail=detail)
            return task.fn(run=self.run, key=key, **work)

    monkeypatch.setattr(stage, "run_jobs", lambda _, jobs, **__: blocks.extend(jobs))
    images = manifest_of([digest(name) for name in "abc"])
    layout, spec = StoreLayout(tmp_path), made_up_spec((2, 2), 8)
    with without_prefect():
        compare_images(
            Stages(CategoryRun(layout, images.category, config_of(device=device), spec, 1 << 30)),
            EmbeddedImages(images, str(save_manifest(layout, images)), "embeddings"),
            Reference(role="cluster", size=None, seed=0),
            key="key",
            distances="distances",
        )
    assert asked["task"] is stage.pair
    assert blocks
    assert {block.device for block in blocks} == {device}
    assert asked["detail"] == "3 new image pairs"
