from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.builders import config_of, digest, manifest_of

from anoclust_core.records import Reference
from flows.stages import EmbeddedImages, compare_images
from tasks.stages.pair import pair
from tasks.stores.layout import StoreLayout


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:1"])
def test_images_are_compared_where_they_were_embedded(tmp_path: Path, device: str) -> None:
    """``--device`` holds for the pairwise stage too; with ``auto`` every worker chooses for itself."""
    asked: dict[str, Any] = {}

    def run_stage(task: object, **given: Any) -> Any:
        asked.update(given, task=task)

    images = manifest_of([digest(name) for name in "abc"])
    compare_images(
        run_stage,
        StoreLayout(tmp_path),
        EmbeddedImages(images, "manifest", "embeddings"),
        Reference(role="cluster", size=None, seed=0),
        config_of(device=device),
        spec=None,
        memory=1 << 30,
        key="key",
        distances="distances",
    )
    assert asked["task"] is pair
    assert asked["device"] == device
    assert asked["detail"] == "3 new image pairs"
