"""What images there are: the MVTec layout, a folder of categories, a flat folder or a manifest, hashed by content."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

from anoclust_core.config import RunConfig
from anoclust_core.errors import DatasetError
from anoclust_core.records import DatasetManifest, ImageRecord, Role, SetAside, by_reason
from tasks.images.choosing import Chosen, choose_images
from tasks.images.file_check import MAY_BE_WRITTEN, Examined, examine
from tasks.images.folders import one_line, printable
from tasks.images.known_hashes import KnownHashes
from tasks.images.layouts import TEST, Candidate
from tasks.images.shrinking import shrinking_note
from tasks.telemetry import Listener

_HASHING_THREADS: Final = 4
_AT_ONCE: Final = 16
"""Files that a thread looks at before it comes back: most are remembered, and handing one over costs more than that."""
_REASONS_TOLD: Final = 3
"""Most reasons that an error message quotes; the commonest come first."""
_CLOCK_STEP: Final = 0.1
"""Seconds that a file system's time may be behind."""


@dataclass(frozen=True)
class Listed:
    """A category, and in how many seconds its files that are too young have settled."""

    manifest: DatasetManifest
    settles_in: float


def list_datasets(
    data: Path,
    config: RunConfig,
    *,
    categories: Sequence[str] = (),
    exclude: Path | None = None,
    known: Collection[str] = (),
    known_hashes: Callable[[str], Path] | None = None,
    waits: Callable[[DatasetManifest], bool] | None = None,
    listener: Listener | None = None,
) -> list[DatasetManifest]:
    """List the images of every category and say what the run does with each.

    Parameters
    ----------
    data
        A folder in the MVTec layout, a folder of categories, a flat folder of images, or a manifest (``.csv``,
        ``.tsv``).
    config
        Its ``splits`` and ``normals`` decide the roles, its ``settle_seconds`` what may still be written; a
        category may have its own.
    categories
        Names to keep; all by default.
    exclude
        Folder that holds no data even where it lies inside ``data``: the store.
    known
        Categories that may have no image now; where there are some, no image at all is no error either.
    known_hashes
        Gives the file that the hashes of a category's files are remembered in, if they are to be; files that have not
        changed are not read again then, unless the configuration says otherwise.
    waits
        Asked about a category with files that are too young: whether to wait for them. All that are waited for are
        looked at once more, after ``settle_seconds`` and one second at most. By default nobody waits.
    listener
        Hears of the files that are hashed, as stage ``list``, and of the seconds that are waited, as stage ``settle``;
        of all categories together, so that the category is empty.

    Returns
    -------
    manifests
        One per category, in order of their names.

    Raises
    ------
    DatasetError
        If there is nothing to cluster, or the manifest is broken.
    ConfigError
        If a category is unknown or settings contradict each other.
    """
    chosen = choose_images(data, config, categories=categories, exclude=exclude, known=known)
    listed = {}
    n_files, hashed = sum(len(one.files) for one in chosen.values()), 0

    def look_at(name: str, done: int) -> Listed:
        report = (lambda n: listener("", "list", done + n, n_files)) if listener else (lambda _: None)
        own = config.of(name)
        hashes = known_hashes(name) if known_hashes and own.data.trust_times else None
        return read_files(name, chosen[name], own, known_hashes=hashes, progress=report)

    for name, one in chosen.items():
        listed[name] = look_at(name, hashed)
        hashed += len(one.files)
    late = [name for name, one in listed.items() if waits and one.settles_in > 0 and waits(one.manifest)]
    if late:
        _wait(max(listed[name].settles_in for name in late), config.data.settle_seconds, listener)
        listed |= {name: look_at(name, n_files - len(chosen[name].files)) for name in late}
    return [one.manifest for one in listed.values()]


def _wait(seconds: float, settle_seconds: float, listener: Listener | None) -> None:
    """Wait until files have settled, and a moment more: clocks of file systems go in steps."""
    total = min(seconds + _CLOCK_STEP, settle_seconds + 1)
    end = time.monotonic() + total
    while (left := end - time.monotonic()) > 0:
        if listener:
            listener("", "settle", round(total - left), max(1, round(total)))
        time.sleep(min(left, 1))


def read_files(
    category: str,
    chosen: Chosen,
    config: RunConfig,
    *,
    known_hashes: Path | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Listed:
    """Look at every file once for its content hash; set aside what cannot be read and what may still be written.

    Parameters
    ----------
    category, chosen
        From `choose_images`.
    config
        As `list_datasets` takes it.
    known_hashes
        File that the hashes are remembered in; none where nothing is.
    progress
        Hears how many files have been looked at.
    """
    known = KnownHashes(known_hashes)
    look = partial(_look, settle_seconds=config.data.settle_seconds, known_hashes=known)
    found = _hash(category, chosen, look, progress)
    known.save()
    shrunk = shrinking_note(found.manifest.images, config)
    if shrunk is None:
        return found
    return replace(found, manifest=replace(found.manifest, notes=(*found.manifest.notes, shrunk)))


def _hash(
    category: str, chosen: Chosen, look: Callable[[Candidate], Examined], progress: Callable[[int], None]
) -> Listed:
    images: list[ImageRecord] = []
    quarantine: list[SetAside] = []
    deferred: list[SetAside] = []
    settles_in = 0.0
    special: dict[str, str] = {}
    parts = [chosen.files[start : start + _AT_ONCE] for start in range(0, len(chosen.files), _AT_ONCE)]
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        looks = chain.from_iterable(pool.map(lambda part: [look(candidate) for candidate, _ in part], parts))
        for n, ((candidate, role), found) in enumerate(zip(chosen.files, looks, strict=True), start=1):
            if found.bad:
                quarantine.append(SetAside(printable(candidate.path), found.bad, candidate.line))
            elif found.later:
                deferred.append(SetAside(candidate.path, found.later))
                settles_in = max(settles_in, found.settles_in)
            else:
                images.append(_record(candidate, role, found))
                special.update({found.sha256: found.special} if found.special else {})
            progress(n)
    manifest = DatasetManifest(
        category=category,
        images=tuple(sorted(images, key=lambda image: image.path)),
        quarantine=tuple(sorted(quarantine, key=lambda entry: entry.path)),
        notes=(*chosen.notes, *_shared_contents(images), *_many_alike(quarantine)),
        n_normals_given=sum(role == "normal" for _, role in chosen.files),
        deferred=tuple(sorted(deferred, key=lambda entry: entry.path)),
        special=special,
    )
    return Listed(manifest, settles_in)


def is_enough(manifest: DatasetManifest, *, max_bad_share: float) -> bool:
    """Whether a category is worth running, see `check_enough`."""
    try:
        check_enough(manifest, max_bad_share=max_bad_share)
    except DatasetError:
        return False
    return True


def check_enough(manifest: DatasetManifest, *, max_bad_share: float) -> None:
    """Refuse a category that is not worth running.

    Parameters
    ----------
    manifest
        What is left of the category's images.
    max_bad_share
        Largest part of the files, without the deferred, that may be quarantined, in [0, 1].

    Raises
    ------
    DatasetError
        If fewer than two images are left to cluster; if none is left of the normals that were given, since without them
        the run would be blind, which is not what was asked for; or if too many files are bad.
    """
    category, n_bad = manifest.category, len(manifest.quarantine)
    if manifest.deferred and manifest.n_total == len(manifest.deferred):
        hint = ", or with --settle-seconds 0" if any(MAY_BE_WRITTEN in d.reason for d in manifest.deferred) else ""
        raise DatasetError(
            f"all {manifest.n_total} images of category {category} are left for the next run "
            f"({_commonest(manifest.deferred)}); run again in a moment{hint}"
        )
    told = [
        f"{len(entries)} {what} ({_commonest(entries)})"
        for entries, what in (
            (manifest.quarantine, "could not be used"),
            (manifest.deferred, "are left for the next run"),
        )
        if entries
    ]
    if manifest.n_normals_given and not manifest.normals:
        raise DatasetError(
            f"none of the {manifest.n_normals_given} normal images of category {category} can be used: of all files, "
            f"{'; '.join(told)}; repair them, or run blind with --normals none"
        )
    if len(manifest.clustered) < 2:
        splits = Counter(image.split for image in manifest.images)
        others = ", ".join(f"{count} of split {split}" for split, count in splits.items() if split not in (None, TEST))
        reasons = [f"there are {others}: --splits all clusters them too"] if others else []
        raise DatasetError(
            f"category {category} has {len(manifest.clustered)} usable images to cluster, but at least 2 are needed"
            + "".join(f"; {reason}" for reason in (*reasons, *told))
        )
    if manifest.bad_share > max_bad_share:
        raise DatasetError(
            f"{n_bad} of the {manifest.n_total - len(manifest.deferred)} files of category {category} cannot be used, "
            f"{manifest.bad_share:.0%}, and the limit is {max_bad_share:.0%}: {_commonest(manifest.quarantine)}; "
            "repair or remove them, or raise --max-bad-share"
        )


def _commonest(entries: Sequence[SetAside]) -> str:
    """Name the commonest reasons, each with its number of files and one of them."""
    groups = by_reason(entries)
    told = [group.sentence(one_line) for group in groups[:_REASONS_TOLD]]
    more = sum(len(group.entries) for group in groups[_REASONS_TOLD:])
    return "; ".join([*told, *([f"{more} for other reasons"] if more else [])])


def _many_alike(quarantine: Sequence[SetAside]) -> list[str]:
    """Notes on rows of a manifest that are of no use for one and the same reason."""
    groups = by_reason(entry for entry in quarantine if entry.line is not None)
    return [f"{group.sentence(one_line)}." for group in groups if len(group.entries) > 1]


def _look(candidate: Candidate, *, settle_seconds: float, known_hashes: KnownHashes) -> Examined:
    if candidate.refused:
        return Examined(bad=candidate.refused)
    return examine(candidate.file, settle_seconds=settle_seconds, known_hashes=known_hashes)


def _record(candidate: Candidate, role: Role, found: Examined) -> ImageRecord:
    return ImageRecord(
        path=candidate.path,
        file=str(candidate.file.absolute()),
        sha256=found.sha256,
        role=role,
        split=candidate.split,
        label=candidate.label,
        mask=candidate.mask,
        extra=candidate.extra,
        mtime_ns=found.mtime_ns,
        part=candidate.part,
    )


def _shared_contents(images: Iterable[ImageRecord]) -> list[str]:
    """Note on images that are both clustered and given as normal: their rarity is 0."""
    roles: dict[str, set[str]] = {}
    for image in images:
        roles.setdefault(image.sha256, set()).add(image.role)
    both = sum(len(found) == 2 for found in roles.values())
    return [f"{both} clustered images are also among the normals, so that nothing in them is rare."] if both else []
