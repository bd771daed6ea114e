"""A store that an earlier version wrote: what it holds is found by its keys, and nothing of it is computed again.

`store_of_an_earlier_version.tar.xz` has eight small images in ``data/`` and the store of one run over them in
``store/``, written by the version before modules moved to the rooms that they are in now.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from helpers.running import run_one, work
from PIL import Image

from anoclust_core.config import RunConfig
from tasks.store_check.store import check_store
from tasks.stores.layout import StoreLayout

pytestmark = pytest.mark.usefixtures("prefect_db")

CONFIG = RunConfig.model_validate({"recipe": "sohn", "embed": {"image_size": 64}, "group": {"n_clusters": 2}})


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """Unpack the images and the store."""
    with tarfile.open(Path(__file__).with_name("store_of_an_earlier_version.tar.xz")) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_a_finished_run_is_found(before: Path) -> None:
    """The same command has nothing to do."""
    outcome = run_one(before / "data", before / "store", CONFIG)
    assert not outcome.is_new
    assert outcome.run is not None
    assert outcome.run.name == "20261128T154507Z-0af60ffabda6"


def test_another_recipe_takes_what_it_shares(before: Path) -> None:
    """Recipe auto compares no pair of images again; it embeds one more feature level of them."""
    outcome = run_one(before / "data", before / "store", CONFIG.model_copy(update={"recipe": "auto"}))
    assert outcome.is_new
    assert outcome.work == work(8, 0)


def test_a_new_image_costs_no_more_than_itself(before: Path) -> None:
    """Embeddings and distances of before are taken: one image is embedded, and compared with the eight others."""
    pixels = np.random.default_rng(99).integers(100, 160, (64, 64)).astype(np.uint8)
    Image.fromarray(pixels).save(before / "data" / "tile" / "8_ok.png")
    outcome = run_one(before / "data", before / "store", CONFIG)
    assert outcome.is_new
    assert outcome.work == work(1, 8)


def test_it_is_sound(before: Path) -> None:
    """The check of the store knows everything in it, and finds nothing damaged."""
    found = check_store(StoreLayout(before / "store"))
    assert found.damage == []
