"""Every stage of a run: version of its algorithm, folder of its arrays, and what its content key is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Final

from anoclust_core.config import COUNT_ONCE, RunConfig
from anoclust_core.keys import content_key
from anoclust_core.records import DatasetManifest, EmbeddingSpec, Reference


@dataclass(frozen=True)
class ArrayFolder:
    """One kind of folders of arrays in a store, by category.

    Attributes
    ----------
    kind
        Name of the folder that they lie in.
    arrays
        Names of the arrays in each.
    counted_as
        What ``anoclust store size`` counts them as.
    grouped
        Whether they lie one level deeper, below the key of the embeddings or distances that they are part of.
    """

    kind: str
    arrays: frozenset[str]
    counted_as: str
    grouped: bool = False


_WEIGHTS: Final = ArrayFolder("weights", frozenset({"rarity", "weights", "descriptors"}), "weights")
VIEW_RARITY: Final = "view_rarity"
"""Array of weights by part: rarity of all views, in the order of `DatasetManifest.compared`; the others have a row for
each part."""

_MODEL: Final = ArrayFolder("models", frozenset({"means", "matrices", "plain", "unsmoothed"}), "weights")
_TRAINING: Final = ArrayFolder("training", frozenset({"state"}), "weights")
_LOCALIZER: Final = ArrayFolder("localizers", frozenset({"state"}), "weights")


@dataclass(frozen=True)
class EmbeddingKeys:
    """Keys of what is computed from the images alone, whatever is done with it.

    Attributes
    ----------
    embedding
        Key of the embedding spec: names the folder of segments.
    distances
        Key of embedding and distance computation: names the folder of slabs.
    embed
        Key of the embeddings of these very images.
    deeper
        Key of the deeper level's embedding spec, as ``embedding``; empty where there is none.
    aligned
        Whether patches are compared near their own place only.
    covers
        Key of the patches that images are compared with: names a folder of segments too; empty where that are all.
    regions
        Digest of the parts of the images that are looked at; empty where that is all of each.
    detected
        Key of the detector's maps: names a folder of segments; empty where there is no detector.
    """

    embedding: str
    distances: str
    embed: str
    deeper: str = ""
    aligned: bool = False
    covers: str = ""
    regions: str = ""
    detected: str = ""


@dataclass(frozen=True)
class RunInputs:
    """What the keys of a run are made of.

    Attributes
    ----------
    manifest, config
        The images, and what is asked for.
    images
        Keys of what comes from the images alone.
    reference
        Images that rarity is measured against; None where the weights follow maps.
    maps
        Digest of the given anomaly maps, or key of those of a detector; None where there are none.
    n_clusters, n_clusters_rule
        Number to cut, or None for the label-free suggestion; and why.
    """

    manifest: DatasetManifest
    config: RunConfig
    images: EmbeddingKeys
    reference: Reference | None
    maps: str | None
    n_clusters: int | None
    n_clusters_rule: str


Parts = dict[str, object]
"""JSON values that a key is made of, by name."""

_PLACES: Final[Parts] = {"places": "usual taken away"}
"""What keys say where recipe auto takes away what is usual at each place of a fixed camera's frames."""


_FILLED: Final[Parts] = {"bags": "filled"}
"""What keys say where regions decide which images are near-duplicates though no distances are stored."""


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes
    ----------
    version
        Part of every key of the stage: raised when its result changes for the same input.
    folders
        Folders of its arrays, if it writes some; two stages may write the same kind.
    parts
        What its key is made of besides the version, from the inputs of a run and the keys of the stages before it; None
        for a run that the stage has no part in. Without it a stage is no step of a run's own.
    result
        Name under which later stages find its key besides its own, where stages stand in for each other.
    decides_clusters
        Whether a partition by any recipe depends on it: nights that were made by another version are clustered again.
    """

    version: int
    folders: tuple[ArrayFolder, ...] = ()
    parts: Callable[[RunInputs, Mapping[str, str]], Parts | None] | None = None
    result: str = ""
    decides_clusters: bool = False


def _pair(run: RunInputs, _: Mapping[str, str]) -> Parts | None:
    return _pair_parts(run.images, run.manifest, run.reference) if run.reference else None


def _near_duplicates(run: RunInputs, keys: Mapping[str, str]) -> Parts | None:
    if run.reference is None:
        return None
    is_stored = run.reference.role == "cluster" and run.reference.size is None  # what is compared there knows regions
    return {"pair": keys["pair"], **(_FILLED if run.images.regions and not is_stored else {})}


def _counted_once(run: RunInputs, keys: Mapping[str, str]) -> Parts:
    """What keys say of near-duplicates that count once; nothing where all count, as it always was."""
    is_once = run.config.pair.near_duplicates == COUNT_ONCE and "near_duplicates" in keys
    return {"near_duplicates": keys["near_duplicates"]} if is_once else {}


def _localize(run: RunInputs, _: Mapping[str, str]) -> Parts | None:
    return _localize_parts(run.images, run.manifest, run.config) if run.config.recipe == "blind" else None


def _describe(run: RunInputs, keys: Mapping[str, str]) -> Parts | None:
    if run.config.recipe != "blind":
        return None
    return {**_describe_parts(keys["localize"], run.config, n_classes=run.n_clusters), **_view_parts(run)}


def _weigh(run: RunInputs, keys: Mapping[str, str]) -> Parts | None:
    return _weights_parts(run, keys) if run.config.recipe == "sohn" else None


def _whiten(run: RunInputs, keys: Mapping[str, str]) -> Parts | None:
    if run.config.recipe != "auto":
        return None
    own = {"deeper": run.images.deeper, "n_clusters": run.n_clusters, "seed": run.config.seed}
    places = _PLACES if run.images.aligned and run.reference else {}
    return {**_weights_parts(run, keys), **own, **places}


def _weights_parts(run: RunInputs, keys: Mapping[str, str]) -> Parts:
    config = run.config.weigh
    return {
        "pair": keys.get("pair"),
        "maps": run.maps and {"digest": run.maps, "images": run.images.embed},
        "uniform": config.weights == "uniform",
        "tau": config.tau,
        **({"regions": run.images.regions} if run.images.regions else {}),
        **_view_parts(run),
        **_counted_once(run, keys),
    }


def _view_parts(run: RunInputs) -> Parts:
    """What keys say of the views of parts, where one of them stands for the part."""
    if run.config.group.by != "part":
        return {}
    return {"parts": content_key("parts", {"parts": [image.part for image in run.manifest.clustered]})}


def _group(run: RunInputs, keys: Mapping[str, str]) -> Parts:
    config = run.config.group
    # weights that follow maps say nothing of distances between images
    lacks_distances = config.distance != "weighted_average" and "pair" not in keys
    return {
        "weigh": keys["weigh"],
        "distance": config.distance,
        "linkage": config.linkage,
        "n_clusters": run.n_clusters,
        "rule": run.n_clusters_rule,
        **({"cut": "knee and neighbours"} if run.config.recipe == "auto" else {}),
        **({"bounds": list(config.bounds)} if config.bounds else {}),
        **({"distances": run.images.distances} if lacks_distances else {}),
        **_counted_once(run, keys),
    }


def _evaluate(run: RunInputs, keys: Mapping[str, str]) -> Parts:
    labels = [image.label for image in run.manifest.clustered]
    return {"group": keys["group"], "protocol": run.config.protocol, "labels": labels}


def _report(run: RunInputs, keys: Mapping[str, str]) -> Parts:
    """Where the images lie and how old they are is not shown, so it is not part of the key."""
    images = [{**image.as_json(), "file": None, "mask": None, "mtime_ns": None} for image in run.manifest.images]
    shown = {**run.manifest.as_json(), "images": images}
    listed = STAGES["near_duplicates"].version  # runs of before there was such a stage stay finished
    found = {"near_duplicates": listed} if listed > 1 else {}
    return {"evaluate": keys["evaluate"], "shown": shown, "recipe": run.config.recipe, **found}


STAGES: Final = MappingProxyType(
    {
        # maps of a detector of the user's own: tasks/networks/detectors.py
        "detect": Stage(1, (ArrayFolder("detected", frozenset({"maps"}), "weights", grouped=True),)),
        # embedding/, bags.py, and the decoding of plain images
        "embed": Stage(
            1, (ArrayFolder("embeddings", frozenset({"bags"}), "embeddings", grouped=True),), decides_clusters=True
        ),
        # of other images, deep ones for example: in the key of embeddings where a category has some
        "decode": Stage(1),
        # weighting/covers.py; segments of bags with fewer patches
        "cover": Stage(1),
        # pairwise/
        "pair": Stage(
            1,
            (ArrayFolder("nearest", frozenset({"distances"}), "distances", grouped=True),),
            _pair,
            decides_clusters=True,
        ),
        # pairwise/near_duplicates.py
        "near_duplicates": Stage(
            1,
            (ArrayFolder("near_duplicates", frozenset({"images", "means", "largest", "groups"}), "distances"),),
            _near_duplicates,
        ),
        # localization/cells.py, fca.py, vae.py
        "localize": Stage(2, (ArrayFolder("maps", frozenset({"maps"}), "weights"), _TRAINING), _localize),
        # localization/contrastive.py, thresholds.py, maps.py
        "describe": Stage(2, (_WEIGHTS, _TRAINING, _LOCALIZER), _describe, result="weigh"),
        # weighting/, bags.descriptors
        "weigh": Stage(1, (_WEIGHTS,), _weigh, decides_clusters=True),
        # weighting/auto*.py, levels.py, whitening.py, clustering/smoothing.py, knee.py
        "whiten": Stage(2, (_WEIGHTS, _MODEL), _whiten, result="weigh"),
        # clustering/linkage.py, knee.py
        "group": Stage(
            1, (ArrayFolder("trees", frozenset({"linkage", "labels"}), "weights"),), _group, decides_clusters=True
        ),
        # clustering/projection.py, for the review page; under the key of the descriptors that it is made of
        "project": Stage(1, (ArrayFolder("projections", frozenset({"positions"}), "weights"),)),
        # evaluation/
        "evaluate": Stage(1, (), _evaluate),
        # reporting/, and the files of a run
        "report": Stage(2, (), _report),
        # benchmark/, and everything that it calls
        "measure": Stage(2, (ArrayFolder("holistic", frozenset({"embeddings"}), "embeddings"),)),
        # benchmark/deep/
        "train": Stage(1, (_TRAINING,)),
    }
)
"""Stages by name, each after those that it depends on. They are told here, away from the code that they speak for, so
that keys can be made without importing torch or Prefect."""


ARRAY_FOLDERS: Final = MappingProxyType({folder.kind: folder for stage in STAGES.values() for folder in stage.folders})
"""Folders of a store that hold folders of arrays, by kind: what is checked, counted and collected."""


def stage_key(stage: str, **parts: object) -> str:
    """Content key of a stage's result."""
    return content_key(stage, {**parts, "version": STAGES[stage].version})


def run_keys(run: RunInputs) -> dict[str, str]:
    """Keys of the stages that have a part in a run, in their order; ``report`` is that of the run itself."""
    keys: dict[str, str] = {}
    for name, stage in STAGES.items():
        parts = stage.parts(run, keys) if stage.parts else None
        if parts is not None:
            keys[name] = keys[stage.result or name] = stage_key(name, **parts)
    return keys


def embedding_keys(manifest: DatasetManifest, spec: EmbeddingSpec) -> EmbeddingKeys:
    """Make the keys of the embeddings of a manifest's images."""
    embedding = stage_key("embed", spec=spec.identity)
    regions = _regions(manifest, spec)
    looked_at = {"regions": regions} if regions else {}
    return EmbeddingKeys(
        embedding=embedding,
        distances=stage_key("pair", embedding=embedding, **_comparison_parts(spec), **looked_at),
        embed=stage_key("embed", embedding=embedding, images=sorted(image.sha256 for image in manifest.images)),
        deeper=stage_key("embed", spec=spec.deeper.identity) if spec.deeper else "",
        aligned=spec.aligned_within is not None,
        covers=stage_key("cover", embedding=embedding, **asdict(spec.cover), **looked_at) if spec.cover else "",
        regions=regions,
        detected=detected_key(spec),
    )


def detected_key(spec: EmbeddingSpec) -> str:
    """Key of the maps of a spec's detector, empty where it has none; it names a folder of segments.

    Pictures of more than 8 bits are decoded for it as for the backbone.
    """
    if spec.detector is None:
        return ""
    decoding = spec.decoding.identity if spec.decoding else None
    return stage_key("detect", detector=spec.detector.identity, decoding=decoding)


def detect_key(images: EmbeddingKeys, manifest: DatasetManifest) -> str:
    """Key of a detector's maps of these very images."""
    contents = sorted({image.sha256 for image in manifest.clustered})
    return stage_key("detect", detected=images.detected, images=contents)


def _regions(manifest: DatasetManifest, spec: EmbeddingSpec) -> str:
    """Digest of the images' regions: where all have the same one, that is all; else it is of these very images."""
    of_images = {image.sha256: image.region or spec.region for image in manifest.images}
    found = set(of_images.values()) or {spec.region}
    if len(found) == 1:
        return found.pop() or ""
    return content_key("regions", {"of": sorted(of_images.items())})


def _comparison_parts(spec: EmbeddingSpec) -> Parts:
    """What keys say of the patches that a patch is compared with; nothing where these are all, as it always was."""
    window = {} if spec.aligned_within is None else {"aligned_within": spec.aligned_within}
    cover = {"cover": {**asdict(spec.cover), "version": STAGES["cover"].version}} if spec.cover else {}
    return {**window, **cover}


def settings_key(config: RunConfig, spec: EmbeddingSpec) -> str:
    """Key of everything but the images that decides a clustering; nights with different keys must not be mixed.

    What says which images there are, how long to wait and where to compute does not belong to it.
    """
    return content_key(
        "settings",
        {
            "method": config.recipe,
            "seed": config.seed,
            "spec": spec.identity,
            "normals": config.data.normals,
            "reference": config.pair.reference,
            "store_budget": int(config.pair.store_budget),
            "weigh": _weigh_parts(config, spec),
            "blind": config.blind.model_dump() if config.recipe == "blind" else None,
            "group": config.group.model_dump(exclude={"by"}),
            "versions": _versions(config),
            **({"by": "part", "part": config.data.part} if config.group.by == "part" else {}),
            **({"deeper": spec.deeper.identity} if spec.deeper else {}),
            **_comparison_parts(spec),
            **({"region": spec.region} if spec.region else {}),
            **(_PLACES if spec.aligned_within is not None and config.recipe == "auto" else {}),
            **_near_duplicates_of_nights(config, spec),
        },
    )


def _weigh_parts(config: RunConfig, spec: EmbeddingSpec) -> Parts:
    """How patches are weighted; of a detector what it holds counts, and not where its file lies."""
    asked = config.weigh.model_dump()
    return {**asked, "weights": "detector", "detected": detected_key(spec)} if spec.detector else asked


def _versions(config: RunConfig) -> dict[str, int]:
    """Versions of the stages that decide a clustering by a recipe; another recipe's must not make nights again.

    The two of recipe blind stand in the keys of all nights, as they always did: by other recipes with what they had.
    """
    found = {name: stage.version for name, stage in STAGES.items() if stage.decides_clusters}
    found |= {name: STAGES[name].version if config.recipe == "blind" else 1 for name in ("localize", "describe")}
    return found | ({"whiten": STAGES["whiten"].version} if config.recipe == "auto" else {})


def _near_duplicates_of_nights(config: RunConfig, spec: EmbeddingSpec) -> Parts:
    if config.pair.near_duplicates != COUNT_ONCE or config.recipe == "blind":
        return {}
    regions = _FILLED if spec.region else {}
    return {"near_duplicates": {"count": COUNT_ONCE, "version": STAGES["near_duplicates"].version, **regions}}


def pair_key(images: EmbeddingKeys, manifest: DatasetManifest, reference: Reference) -> str:
    """Key of the nearest distances from the clustered images to a reference."""
    return stage_key("pair", **_pair_parts(images, manifest, reference))


def localize_key(images: EmbeddingKeys, manifest: DatasetManifest, config: RunConfig) -> str:
    """Key of the anomaly maps of recipe blind; without a VAE neither variant nor seed matter."""
    return stage_key("localize", **_localize_parts(images, manifest, config))


def describe_key(localize: str, config: RunConfig, *, n_classes: int | None) -> str:
    """Key of the weights and descriptors of recipe blind."""
    return stage_key("describe", **_describe_parts(localize, config, n_classes=n_classes))


def _pair_parts(images: EmbeddingKeys, manifest: DatasetManifest, reference: Reference) -> Parts:
    return {"distances": images.distances, "dataset": manifest.dataset_hash, "reference": asdict(reference)}


def _localize_parts(images: EmbeddingKeys, manifest: DatasetManifest, config: RunConfig) -> Parts:
    trained = {"variant": config.blind.variant, "seed": config.seed} if config.blind.vae else None
    return {"embedding": images.embedding, "dataset": manifest.blind().dataset_hash, "vae": trained}


def _describe_parts(localize: str, config: RunConfig, *, n_classes: int | None) -> Parts:
    head = None
    if config.blind.contrastive:
        by_classes = n_classes if config.blind.threshold == "kmeans-quantile" else None
        head = {
            "variant": config.blind.variant,
            "seed": config.seed,
            "threshold": config.blind.threshold,
            "n_classes": by_classes,
        }
    return {
        "localize": localize,
        "tau": config.weigh.tau,
        "flat_field": config.blind.flat_field,
        "border": config.blind.border,
        "head": head,
    }
