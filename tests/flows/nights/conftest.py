"""Two nights of one category, made once with either kind of catalog."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.streams import TWO, Stream, night_config
from helpers.typed import Typed


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def two_nights(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None
) -> Stream:
    """Make two nights of two classes once, for tests to copy."""
    catalog = None if request.param == "sqlite" else request.getfixturevalue("new_postgresql_url")()
    config = night_config(checkpoint, recipe="sohn", recluster_every="none", catalog=catalog)
    stream = Stream(tmp_path_factory.mktemp("nights"), config)
    stream.deliver(0, TWO)
    stream.night(0)
    stream.deliver(1, TWO[:6])
    stream.night(1)
    return stream


@pytest.fixture
def empty_stream(request: pytest.FixtureRequest, two_nights: Stream, tmp_path: Path) -> Stream:
    """Give a stream without a night, by recipe auto, with the same kind of catalog as the two nights."""
    config = two_nights.config.model_copy(update={"recipe": "auto"})
    if two_nights.config.night.catalog is None:
        return Stream(tmp_path / "stream", config)
    night = two_nights.config.night.model_copy(update={"catalog": request.getfixturevalue("new_postgresql_url")()})
    return Stream(tmp_path / "stream", config.model_copy(update={"night": night}))


@pytest.fixture
def stream(request: pytest.FixtureRequest, two_nights: Stream, tmp_path: Path) -> Stream:
    """Copy the two nights: images, store and catalog."""
    shutil.copytree(two_nights.root, tmp_path / "stream")
    catalog = two_nights.config.night.catalog
    if catalog is None:
        return two_nights.at(tmp_path / "stream", two_nights.config)
    copied = request.getfixturevalue("new_postgresql_url")(copy_of=catalog)
    night = two_nights.config.night.model_copy(update={"catalog": copied})
    return two_nights.at(tmp_path / "stream", two_nights.config.model_copy(update={"night": night}))


@pytest.fixture
def typed(stream: Stream) -> Typed:
    """Give commands on two nights."""
    return Typed(stream)
