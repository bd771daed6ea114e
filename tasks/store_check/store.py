"""Verify a store: every checksum, and every reference from one thing to another; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tasks.store_check.catalog import check_catalog
from tasks.store_check.findings import KEPT, Fault, Finding, finding
from tasks.store_check.parts import check_arrays, check_decoding, check_leftovers, check_manifests, check_results
from tasks.store_check.runs import check_nights, check_runs
from tasks.store_check.shared import (
    check_backbones,
    check_frames,
    check_known_hashes,
    check_locks,
    check_regions,
    check_strays,
    check_thumbnails,
)
from tasks.stores import arrays
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import ARRAY_FOLDERS
from tasks.stores.upkeep import inventory


@dataclass(frozen=True)
class Checked:
    """Outcome of a check: complete folders of arrays and bytes that were read, and what was found."""

    folders: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def damage(self) -> list[Finding]:
        """Findings that matter."""
        return [finding for finding in self.findings if not finding.is_harmless]

    @property
    def by_kind(self) -> dict[str, list[Finding]]:
        """Findings by kind of fault, the worst first."""
        found = {kind: [one for one in self.findings if one.kind == kind] for kind in Fault}
        return {kind: findings for kind, findings in found.items() if findings}


def check_store(
    layout: StoreLayout,
    categories: Sequence[str] = (),
    *,
    catalog: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Read everything that a store holds for some categories, or for all.

    Parameters
    ----------
    layout
        The store.
    categories
        Names; all by default.
    catalog
        File or URL of the catalog; None where there is none.
    progress
        Called with (bytes read, bytes in all).

    Raises
    ------
    ConfigError
        If a category is not in the store.
    """
    names = inventory.chosen_folders(layout, categories)
    folders = [
        (kind, path) for name in names for kind in ARRAY_FOLDERS for path in inventory.array_folders(layout, kind, name)
    ]
    jobs: list[tuple[list[Path], Callable[[], list[Finding]]]] = [
        ([path], partial(check_arrays, layout, kind, path)) for kind, path in folders
    ]
    for name in names:
        jobs += [
            ([], partial(check_leftovers, layout, name)),
            (inventory.manifests(layout, name), partial(check_manifests, layout, name)),
            ([layout.root / "runs" / name], partial(check_runs, layout, name)),
            ([path for _, path in inventory.results(layout, name)], partial(check_results, layout, name)),
            ([layout.root / "nights" / name], partial(check_nights, layout, name)),
            ([layout.root / "decoding" / f"{name}.json"], partial(check_decoding, layout, name)),
            ([layout.root / "thumbnails" / name], partial(check_thumbnails, layout, name)),
        ]
    of_categories = names if categories else inventory.shared_names(layout)
    jobs += [
        ([layout.root / "backbones"], partial(check_backbones, layout)),
        ([layout.root / "digests"], partial(check_known_hashes, layout, of_categories)),
        ([layout.root / "frames"], partial(check_frames, layout, of_categories)),
        ([layout.root / "regions"], partial(check_regions, layout)),
        ([layout.root / "locks"], partial(check_locks, layout, of_categories)),
    ]
    if not categories:
        jobs.append(([], partial(check_strays, layout)))
    sizes = [sum(map(inventory.tree_bytes, paths)) for paths, _ in jobs]
    findings: list[Finding] = []
    done = 0
    for (_, check), size in zip(jobs, sizes, strict=True):
        findings += check()
        done += size
        if progress:
            progress(done, sum(sizes))
    if catalog is not None:
        findings += check_catalog(layout, catalog)
    if not categories:
        findings += [
            finding(layout, path, "was damaged", KEPT, Fault.PUT_ASIDE) for path, _ in inventory.damaged(layout)
        ]
    n_sealed = sum(arrays.is_complete(path) for _, path in folders)
    findings.sort(key=lambda found: (list(Fault).index(found.kind), found.path))
    return Checked(n_sealed, sum(sizes), tuple(findings))
