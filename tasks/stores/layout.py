"""Where everything lies in a store.

::

    STORE/
      backbones/<key>.json                          what a backbone's name and weights resolve to
      backbones/<key>.onnx, .npz                    a network converted for OpenVINO; torch's features of one image
      manifests/<category>/<key>.json               what a run was given
      embeddings/<category>/<embedding key>/        immutable segments of bags
      nearest/<category>/<distances key>/           immutable slabs of nearest-patch distances
      maps/<category>/<key>/                        anomaly maps of recipe blind
      detected/<category>/<detector key>/           immutable segments of maps that a detector of one's own has made
      training/<category>/<key>/                    what a training of recipe blind or of the benchmark has learnt
      weights/<category>/<key>/                     rarity, weights, descriptors
      models/<category>/<key>/                      what recipe auto describes later images with
      localizers/<category>/<key>/                  what recipe blind describes later images with
      trees/<category>/<key>/                       linkage and labels
      projections/<category>/<key>/                 where images lie on the map of the review page
      holistic/<category>/<key>/                    embeddings of whole images, for the benchmark
      results/                                      Prefect's cached results: handles, never arrays
      runs/<category>/<run id>/                     what people and scripts read; latest.json: the last asked for
      summary.html                                  what came of the last command over several categories
      nights/<category>/<night>/                    report and summary of a night
      nights/<category>/snapshot.json               what nights are assigned to is made of: `store gc` keeps it
      thumbnails/<category>/<key>/<ab>/<hash>.jpg   small pictures by content, for the review page
      catalog.sqlite                                facts: images, nights, clusters, decisions
      catalog/identity.json                         which catalog the store has, be it a file or in a database
      catalog/journal.jsonl                         every change of the catalog, in order
      aside/<time>/                                 catalog, journal and nights of before a start over
      digests/<category>.json                       content hashes of files, told by size and times
      decoding/<category>.json                      which values of deep pictures are black and white
      frames/<category>.json                        size of the largest frame and how frames lie, for tiles
      regions/<digest>.json                         masks of what is looked at of frames
      locks/<category>.lock                         held by the one run of a category that may write
      damaged/<kind>-<category>-<name>-<time>       put aside: what failed its checksum and was rebuilt
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from anoclust_core.errors import StoreError
from tasks.stores.files import safe_name


@dataclass(frozen=True)
class StoreLayout:
    """Paths inside a store.

    Attributes
    ----------
    root
        Folder of the store; it need not exist yet.
    """

    root: Path

    def backbone(self, key: str) -> Path:
        """Resolved backbone, a JSON file."""
        return self.root / "backbones" / f"{key}.json"

    def network(self, key: str) -> Path:
        """Network converted for OpenVINO, a file in the ONNX format."""
        return self.root / "backbones" / f"{key}.onnx"

    def known_hashes(self, category: str) -> Path:
        """Known content hashes of a category's files, a JSON file."""
        return self.root / "digests" / f"{safe_name(category)}.json"

    def decoding(self, category: str) -> Path:
        """How the category's pictures are decoded that are not plain ones of 8 bits, a JSON file."""
        return self.root / "decoding" / f"{safe_name(category)}.json"

    def frame(self, category: str) -> Path:
        """How large the category's frames in tiles are, and how they lie on each other, a JSON file."""
        return self.root / "frames" / f"{safe_name(category)}.json"

    def region(self, digest: str) -> Path:
        """Mask of what is looked at of a frame, a JSON file."""
        return self.root / "regions" / f"{digest}.json"

    def manifest(self, category: str, key: str) -> Path:
        """Images of a run, a JSON file."""
        return self.root / "manifests" / safe_name(category) / f"{key}.json"

    def folder(self, kind: str, category: str, key: str) -> Path:
        """Folder of arrays of one kind, see `tasks.stores.stage_keys.ARRAY_FOLDERS`; of grouped ones, the group's."""
        return self.root / kind / safe_name(category) / key

    def runs(self, category: str) -> Path:
        """Folder of a category's runs."""
        return self.root / "runs" / safe_name(category)

    @property
    def overview(self) -> Path:
        """Page of the last command over several categories."""
        return self.root / "summary.html"

    def nights(self, category: str) -> Path:
        """Folder of a category's nights."""
        return self.root / "nights" / safe_name(category)

    def night(self, category: str, night: date) -> Path:
        """Folder of what people and scripts read of one night."""
        return self.nights(category) / night.isoformat()

    def thumbnails(self, category: str, key: str) -> Path:
        """Folder of a category's small pictures; the key says how they were made."""
        return self.root / "thumbnails" / safe_name(category) / key

    def snapshot(self, category: str) -> Path:
        """What the category's nights are assigned to is made of, a JSON file."""
        return self.nights(category) / "snapshot.json"

    @property
    def catalog(self) -> Path:
        """File of the catalog, where no other database is named."""
        return self.root / "catalog.sqlite"

    @property
    def identity(self) -> Path:
        """Marker of the catalog that the store has, a JSON file that is written once."""
        return self.root / "catalog" / "identity.json"

    @property
    def journal(self) -> Path:
        """Every change of the catalog, a file that only grows."""
        return self.root / "catalog" / "journal.jsonl"

    @property
    def aside(self) -> Path:
        """Folder of what was kept when somebody started over."""
        return self.root / "aside"

    def lock(self, category: str) -> Path:
        """File that the run of a category holds a lock on; a ``.json`` beside it says who does, or did last."""
        return self.root / "locks" / f"{safe_name(category)}.lock"

    @property
    def damaged(self) -> Path:
        """Folder of what failed its checksum and was put aside."""
        return self.root / "damaged"

    @property
    def results(self) -> Path:
        """Folder of Prefect's cached results."""
        return self.root / "results"


def existing_store(root: Path) -> StoreLayout:
    """Paths inside a store that was made before.

    Raises
    ------
    StoreError
        If there is no folder.
    """
    if not root.is_dir():
        raise StoreError(f"there is no store at {root}; `anoclust run DATA --store {root}` makes one")
    return StoreLayout(root.absolute())
