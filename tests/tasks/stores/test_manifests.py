from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.builders import digest, flat_folder, manifest_of, tiny_config

from anoclust_core.errors import DamagedError
from anoclust_core.keys import content_key
from anoclust_core.records import SetAside
from tasks.images.listing import list_datasets
from tasks.stores.files import read_json, write_json
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest, save_manifest


def test_manifest_comes_back_as_it_was_saved(tmp_path):
    """Images, file times, what was set aside and why, and notes survive the way through the store."""
    (listed,) = list_datasets(flat_folder(tmp_path / "board", range(3)), tiny_config(tmp_path / "none"))
    assert all(image.mtime_ns for image in listed.images)
    manifest = replace(
        listed,
        quarantine=(SetAside("a\nb.png", "the file is empty"),),
        deferred=(SetAside("🙂.png", "changed while it was read"),),
        notes=("a note",),
        n_normals_given=2,
    )
    assert load_manifest(save_manifest(StoreLayout(tmp_path / "store"), manifest)) == manifest


def test_manifest_of_an_earlier_version_is_read(tmp_path):
    """A manifest that was saved before files were deferred has none, and its files have no times."""
    path = save_manifest(StoreLayout(tmp_path), manifest_of([digest("a"), digest("b")]))
    content = read_json(path)
    del content["deferred"]
    for image in content["images"]:
        del image["mtime_ns"]
    old = path.with_name(f"{content_key('manifest', content)}.json")
    write_json(old, content)
    assert load_manifest(old) == manifest_of([digest("a"), digest("b")])


def test_damage_after_a_manifest_was_read_is_noticed(tmp_path):
    """A manifest is read once while its file stays as it is; damage, and that it is gone, are told."""
    path = save_manifest(StoreLayout(tmp_path), manifest_of([digest("a"), digest("b")]))
    assert load_manifest(path) is load_manifest(path)
    path.write_text(path.read_text().replace(digest("a"), digest("c")))
    with pytest.raises(DamagedError, match="checksum"):
        load_manifest(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        load_manifest(path)
