"""What one night of one category is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from pydantic import SecretStr

from anoclust_core.config import RunConfig
from anoclust_core.records import EmbeddingSpec


@dataclass(frozen=True)
class NightRequest:
    """One night of one category; Prefect shows it with the flow's run.

    Attributes
    ----------
    category, night
        Which one.
    n_new, n_seen
        Images that are new, and files that were looked at.
    manifest
        Path of the manifest of what is new, and of the known normals.
    store
        Folder of the store.
    catalog
        URL of the catalog; None is the file in the store.
    config, spec
        What is asked for, and the backbone that it resolves to.
    recluster
        Whether a person wants everything re-clustered.
    due
        Why everything is re-clustered although nothing is new; None where something is: then the night decides, once it
        has recorded it.
    """

    category: str
    night: date
    n_new: int
    n_seen: int
    manifest: str
    store: str
    catalog: SecretStr | None
    config: RunConfig
    spec: EmbeddingSpec
    recluster: bool
    due: str | None
