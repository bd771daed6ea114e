"""Addresses given where a path belongs: understood, or refused with what they are and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import digest, flat_folder, manifest_of

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError, DatasetError
from flows.benchmark.request import BenchmarkRequest, check_request
from flows.settings import FILE_VARIABLE, Settings, resolve, variable_of
from tasks.compute.kept_code import VARIABLE as CACHE_VARIABLE
from tasks.compute.kept_code import code_folder
from tasks.images.anomaly_maps import maps_of
from tasks.images.choosing import list_categories
from tasks.images.listing import list_datasets
from tasks.networks.checkpoints import checkpoint_identity
from tasks.networks.detector_training import textures_in
from tasks.networks.detectors import detector_of
from tasks.stores.addresses import on_this_machine

ADDRESSES = {
    "s3://bucket/teil": "an address in an object store",
    "S3A://bucket/teil": "an address in an object store",
    "gs://bucket/teil": "an address in an object store",
    "az://container/teil": "an address in an object store",
    "abfss://container@account/teil": "an address in an object store",
    "http://example.org/teil": "an address on the web",
    "https://example.org/m.csv": "an address on the web",
    "ftp://example.org/teil": "an address on the web",
    "sftp://host/teil": "an address on another machine",
    "me@host:/teil": "an address on another machine",
    "nas.local:/export/teil": "an address on another machine",
    "smb://server/teil": "a share of another machine",
    "\\\\server\\teil": "a share of another machine",
    "file://server/teil": "a share of another machine",
    "C:\\teil": "a path of Windows",
    "d:/teil": "a path of Windows",
    "hdfs://host/teil": "an address, not a path",
}


@pytest.mark.parametrize(("address", "what"), ADDRESSES.items(), ids=list(ADDRESSES))
def test_an_address_as_data(address: str, what: str) -> None:
    """What it is and what to do is said in one paragraph, also where a path type has taken a slash away."""
    for given in (Path(address), address):
        if given == Path("file://server/teil"):
            continue  # the slash that is gone told the server from a folder
        with pytest.raises(DatasetError, match=r"takes a path on this machine; found .*, which is .*; ") as caught:
            on_this_machine(given, "DATA")
        assert what in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(DatasetError):
        list_datasets(Path(address), RunConfig())
    with pytest.raises(DatasetError):
        list_categories(Path(address))


@pytest.mark.parametrize("address", ["s3://key:hidden@bucket/a", "https://example.org/a?sig=hidden"])
@pytest.mark.parametrize("as_path", [True, False])
def test_secrets_of_an_address_are_not_shown(address: str, as_path: bool) -> None:
    """A password or a signature in an address is not repeated."""
    for name in ("store", "data.normals", "embed.checkpoint"):
        with pytest.raises(ConfigError) as caught:
            resolve({name: address}, environment={})
        assert "hidden" not in str(caught.value)
    with pytest.raises(DatasetError) as refused:
        on_this_machine(Path(address) if as_path else address, "DATA")
    assert "hidden" not in str(refused.value)


def resolved(folder: Path, name: str, value: str, source: str) -> Settings:
    """Settings where one comes from a flag, a variable, or a file in a folder."""
    if source == "flag":
        return resolve({name: value}, environment={})
    if source == "variable":
        return resolve(environment={variable_of(name): value})
    section, _, key = name.rpartition(".")
    file = folder / "anoclust.toml"
    file.write_text((f"[{section}]\n" if section else "") + f"{key} = '{value}'\n")
    return resolve(file=file, environment={})


@pytest.mark.parametrize("name", ["store", "data.normals", "embed.checkpoint", "weigh.weights"])
@pytest.mark.parametrize("source", ["flag", "variable", "file"])
@pytest.mark.parametrize("address", ["s3://b/x", "https://example.org/x", "\\\\server\\x", "C:\\x"])
def test_an_address_as_a_setting(tmp_path: Path, name: str, source: str, address: str) -> None:
    """Wherever a setting comes from, the message names the source, what it takes, what was found and what to do."""
    value = f"maps:{address}" if name == "weigh.weights" else address
    with pytest.raises(ConfigError, match=r" takes .*; found .*, which is .*; ") as caught:
        resolved(tmp_path, name, value, source)
    where = {"flag": "--", "variable": "ANOCLUST_", "file": f"{tmp_path / 'anoclust.toml'}: {name}"}[source]
    assert str(caught.value).startswith(where)
    assert repr(value) in str(caught.value)


def test_file_addresses_are_understood(tmp_path: Path) -> None:
    """A file: address means the path in it, as data and as a setting."""
    board = flat_folder(tmp_path / "my board", range(2))
    address = board.as_uri()
    for given in (address, Path(address)):
        (manifest,) = list_datasets(Path(given), RunConfig())
        assert (manifest.category, len(manifest.images)) == ("my board", 2)
    settings = resolve({"store": address, "weigh.weights": f"maps:{address}"}, environment={})
    assert (settings.store, settings.config.weigh.maps) == (board, str(board))


def test_a_folder_of_that_name_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is a folder of that very name it is taken."""
    monkeypatch.chdir(tmp_path)
    flat_folder(tmp_path / "s3:" / "teil", range(2))
    (manifest,) = list_datasets(Path("s3://teil"), RunConfig())
    assert manifest.category == "teil"
    assert resolve({"store": "s3:/teil"}, environment={}).store == Path("s3:/teil")


def test_a_settings_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    """An editor of Windows puts a mark in front of a file; its settings are read all the same."""
    (tmp_path / "anoclust.toml").write_bytes(b"\xef\xbb\xbfseed = 7\r\n")
    assert resolve({}, file=tmp_path / "anoclust.toml", environment={}).config.seed == 7


NOBODY = "~no such user"
"""How a folder may be called, though a shell reads such names as homes."""


@pytest.mark.parametrize(
    ("name", "word"),
    [("store", ""), ("data.normals", ""), ("data.roi", ""), ("embed.checkpoint", ""), ("weigh.weights", "maps:")],
)
@pytest.mark.parametrize("source", ["flag", "variable", "file"])
def test_a_tilde_and_no_user_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, word: str, source: str
) -> None:
    """Where there is no such user it begins a path as any other, and else at the user's home, behind a word too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/eve")
    start = f"{tmp_path}/" if source == "file" else ""
    for given, meant in ((f"{NOBODY}/x", f"{start}{NOBODY}/x"), ("~/x", "/home/eve/x")):
        assert resolved(tmp_path, name, f"{word}{given}", source).values()[name] == f"{word}{meant}"


def test_what_a_tilde_and_no_user_means_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens such a path finds the folder, or says that it is not there."""
    images = manifest_of([digest("0")])
    request = BenchmarkRequest("sohn", ("ardelean-2",), (), n_subsets=2, backbones=(), detectors=NOBODY)

    def textures() -> Path:
        with textures_in(NOBODY) as folder:
            return folder

    refused: list[Callable[[], object]] = [
        lambda: resolve(environment={FILE_VARIABLE: f"{NOBODY}/a.toml"}),
        lambda: checkpoint_identity("resnet18", f"{NOBODY}/w.pth"),
        lambda: maps_of(NOBODY, images),
        lambda: detector_of(RunConfig.model_validate({"weigh": {"weights": f"detector:{NOBODY}"}}), "tile"),
        lambda: check_request(request),
        textures,
    ]
    monkeypatch.chdir(tmp_path)
    for opens in refused:
        with pytest.raises((ConfigError, DatasetError), match=NOBODY):
            opens()
    (tmp_path / NOBODY / "cluster").mkdir(parents=True)
    np.save(tmp_path / NOBODY / f"{images.clustered[0].path}.npy", np.zeros((2, 2)))
    assert len(maps_of(NOBODY, images)) == 1
    check_request(request)
    assert textures() == Path(NOBODY)
    assert code_folder({CACHE_VARIABLE: NOBODY}) == tmp_path / NOBODY / "kernels"
