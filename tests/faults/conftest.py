"""Stores to do faults to."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.places import Place, make_places


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> list[Place]:
    """Two stores, for two processes at a time, and what they come to undisturbed."""
    from prefect.settings import PREFECT_API_URL

    return make_places(tmp_path_factory.mktemp("faults"), checkpoint, str(PREFECT_API_URL.value()))
