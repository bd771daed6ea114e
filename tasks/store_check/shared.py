"""Check what belongs to no category: backbones, remembered hashes, sizes of frames, locks, what killed runs left."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from anoclust_core.errors import DamagedError
from tasks.images.category_frames import read_frames
from tasks.images.known_hashes import read_known_hashes
from tasks.images.thumbnails import whole
from tasks.networks.backbone_spec import read_card
from tasks.store_check.findings import COLLECTED, Fault, Finding, finding, told
from tasks.stores.files import FILES, changed_files, read_checked, told_as_damage
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import read_holder
from tasks.stores.regions import read_region
from tasks.stores.upkeep import inventory

_MADE_AGAIN: Final = "the next run that needs it makes it again"
_CONVERTED_AGAIN: Final = "the next run that needs the network converts it again"


def check_backbones(layout: StoreLayout) -> list[Finding]:
    """Read every card, and every converted network with what lies beside it."""
    found = _unreadable(layout, inventory.backbone_cards(layout), read_card, _MADE_AGAIN)
    for network in inventory.networks(layout):
        try:
            spoiled = _spoiled_network(network)
        except (OSError, DamagedError) as error:
            spoiled = {f"{network.name}{inventory.CHECKSUMS}": told(layout.root / "backbones", error)}
        found += [
            finding(layout, layout.root / "backbones" / name, what, _CONVERTED_AGAIN) for name, what in spoiled.items()
        ]
    return found


def check_known_hashes(layout: StoreLayout, categories: Collection[str]) -> list[Finding]:
    """Read what is remembered of files; ``categories`` are names of folders."""
    return _unreadable(layout, _of(layout.root / "digests", categories), read_known_hashes, _MADE_AGAIN)


def check_frames(layout: StoreLayout, categories: Collection[str]) -> list[Finding]:
    """Read what is kept of frames that are cut into tiles; ``categories`` are names of folders."""
    return _unreadable(layout, _of(layout.root / "frames", categories), read_frames, _MADE_AGAIN)


def check_regions(layout: StoreLayout) -> list[Finding]:
    """Read every mask of what is looked at."""
    return _unreadable(layout, inventory.regions(layout), read_region, _MADE_AGAIN)


def check_thumbnails(layout: StoreLayout, category: str) -> list[Finding]:
    """Read the small pictures of a category, by the name of its folder."""
    files = sorted((layout.root / "thumbnails" / category).rglob("*.jpg"))
    return [
        finding(layout, file, "is damaged", "the review page makes it again when it is shown")
        for file in files
        if whole(file) is None
    ]


def check_locks(layout: StoreLayout, categories: Collection[str]) -> list[Finding]:
    """Read who holds locks, or did last; ``categories`` are names of folders."""
    folder = layout.root / "locks"
    return [
        *_unreadable(layout, _of(folder, categories), read_holder, "the next run of the category writes it again"),
        *(
            finding(layout, path, "is not a file that can be locked", "the next run of the category puts it aside")
            for path in _of(folder, categories, ending=".lock")
            if not path.is_file()
        ),
    ]


def check_strays(layout: StoreLayout) -> list[Finding]:
    """Find what killed runs left where no category has a place."""
    return [
        finding(layout, path, "was never finished", COLLECTED, Fault.LEFTOVER)
        for path in inventory.shared_strays(layout)
    ]


def _unreadable(layout: StoreLayout, paths: list[Path], read: Callable[[Path], object], advice: str) -> list[Finding]:
    found = []
    for path in paths:
        try:
            read(path)
        except FileNotFoundError:
            continue  # a run that goes on has replaced it
        except (OSError, DamagedError) as error:
            found.append(finding(layout, path, told(path, error), advice))
    return found


def _of(folder: Path, categories: Collection[str], ending: str = ".json") -> list[Path]:
    """Files of some categories in a folder that all share."""
    return [path for name in sorted(categories) if (path := folder / f"{name}{ending}").exists()]


def _spoiled_network(network: Path) -> dict[str, str]:
    """Files of a converted network that are not what was written; ``network`` is their path without ending."""
    checksums = network.with_name(f"{network.name}{inventory.CHECKSUMS}")
    try:
        return changed_files(network.parent, read_checked(checksums).get(FILES, {}))
    except FileNotFoundError:
        pass  # of a version before there were any, or left by a kill: looked at as far as can be
    found = {}
    model, features = network.with_suffix(".onnx"), network.with_suffix(".npz")
    if model.exists() and not (model.is_file() and model.stat().st_size):
        found[model.name] = "is empty, or is not a file"
    if features.exists():
        try:
            with told_as_damage(features), zipfile.ZipFile(features) as archive:
                if archive.testzip() is not None:
                    raise ValueError("its checksum does not match")
        except (DamagedError, OSError, zipfile.BadZipFile) as error:
            found[features.name] = told(features, error)
    return found
