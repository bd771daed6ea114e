"""What the review page shows of a night, made while nobody waits for it: small pictures, and the map."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from prefect import task

from anoclust_core.records import DatasetManifest
from tasks.compute.dask_jobs import CORES
from tasks.night.place import UNTRACKED, Place
from tasks.review.projection import snapshot_positions
from tasks.review.thumbnails import Thumbnails
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.nights.snapshots import read_snapshot


@task(name="prepare", **UNTRACKED)
def prepare(*, place: Place, given: DatasetManifest, is_reclustered: bool) -> int:
    """Make the thumbnails of new images, and after a re-clustering the map; gives the number of thumbnails.

    The page makes what is missing, so that nothing here is needed for the night: a full disk or a file that is gone by
    now is no error.

    Parameters
    ----------
    place
        Where.
    given
        What is new.
    is_reclustered
        Whether the night made a new snapshot.
    """
    thumbnails = Thumbnails(place.layout, place.category)
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        facts = catalog.known_images(place.category, [image.sha256 for image in given.clustered])
        latest = catalog.latest_snapshot(place.category)
    missing = [fact for fact in facts.values() if fact.quarantined is None and thumbnails.kept(fact) is None]
    with ThreadPoolExecutor(CORES) as pool:
        made = sum(jpeg is not None for jpeg in pool.map(thumbnails.made, missing))
    if is_reclustered and latest is not None:
        snapshot_positions(place.layout, place.category, read_snapshot(latest))
    return made
