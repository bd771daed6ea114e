"""What people and scripts read of one night: a report, and a summary with the checksums of both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from anoclust_core.errors import DamagedError
from tasks.stores.files import FILES, changed_files, read_checked, remove_file, with_digest, write_json, write_text
from tasks.stores.upkeep.inventory import NIGHT_REPORT, NIGHT_SUMMARY

NIGHT_COUNTERS: Final = (
    "seen",
    "new",
    "assigned",
    "unknown",
    "new_clusters",
    "pair_products",
    "quarantined",
    "reclustered",
)
"""Counters that the summary of every night has; docs/nights.md describes them."""


RARITY_IMAGES: Final = "rarity_images"
LOOKED_AT: Final = "looked_at"
"""Counters of how many images the rarity of a night is of, and the figures of its pictures as such."""

ONE_BY_ONE: Final = "one_by_one"
"""Counter of the new images that were given to clusters one by one; the others waited for a re-clustering."""

RARITY_SCALE: Final = "rarity_scale"
"""Counter that is another number where rarity is measured in another way: such nights cannot be compared."""


def write_night(folder: Path, page: str, summary: Mapping[str, object]) -> None:
    """Write both; killed on the way, the night has no summary.

    Raises
    ------
    DamagedError
        If a folder stands in the place of a file.
    """
    remove_file(folder / NIGHT_SUMMARY)
    write_text(folder / NIGHT_REPORT, page)
    digests = {NIGHT_REPORT: hashlib.sha256(page.encode()).hexdigest()}
    write_json(folder / NIGHT_SUMMARY, with_digest({**summary, FILES: digests}))


def spoiled_files(folder: Path) -> dict[str, str]:
    """Files of a night that are not what was written: what became of each, by name.

    Raises
    ------
    FileNotFoundError
        If there is no summary: the night was never finished.
    """
    try:
        content: dict[str, Any] = read_checked(folder / NIGHT_SUMMARY)
    except DamagedError as error:
        return {NIGHT_SUMMARY: error.found.removeprefix(f"{folder / NIGHT_SUMMARY} ")}
    if content.get("night") != folder.name:
        return {NIGHT_SUMMARY: "is of another night"}
    if FILES in content:
        return changed_files(folder, content[FILES])
    return {} if is_whole_page(folder / NIGHT_REPORT) else {NIGHT_REPORT: "is gone or cut off"}  # of a version before


def is_whole_page(page: Path) -> bool:
    """Whether a report without a checksum comes to its end."""
    try:
        return page.read_bytes().rstrip().endswith(b"</html>")
    except OSError:
        return False
