"""What a finished run is made of: where its manifest, weights and tree lie, and the keys of all its stages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from anoclust_core.errors import StoreError
from tasks.stores.layout import StoreLayout
from tasks.stores.runs import SUMMARY, SUMMARY_VERSION

_KEY: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Parts:
    """What a run is made of.

    Attributes
    ----------
    manifest, weights, tree
        Where they lie in the store.
    keys
        By stage, as in the summary.
    """

    manifest: Path
    weights: Path
    tree: Path
    keys: Mapping[str, str]


def parts_of(layout: StoreLayout, summary: Mapping[str, Any]) -> Parts:
    """Find what a run is made of.

    Raises
    ------
    StoreError
        If the summary is of another version of Anoclust, or damaged.
    """
    version = summary.get("summary_version")
    if version != SUMMARY_VERSION:
        raise StoreError(
            f"its summary is of version {version}, this Anoclust knows version {SUMMARY_VERSION}; the same command "
            "again makes a new run"
        )
    try:
        category, keys = str(summary["category"]), {str(name): str(key) for name, key in summary["keys"].items()}
        names = [keys[name] for name in ("embedding", "distances", "weigh", "group")]
        if not all(_KEY.fullmatch(name) for name in (*names, Path(summary["manifest"]).stem)):
            raise StoreError(f"its {SUMMARY} names no parts of a store; run again to make a new run")
        return Parts(
            manifest=layout.manifest(category, Path(summary["manifest"]).stem),
            weights=layout.weights(category, keys["weigh"]),
            tree=layout.tree(category, keys["group"]),
            keys=keys,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"its {SUMMARY} is damaged ({error!r}); run again to make a new run") from error
