"""What a run would do, from keys alone: neither torch nor Prefect is imported for the answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError
from anoclust_core.evaluation.protocols import n_classes, protocol_named
from anoclust_core.keys import ALGORITHM_VERSIONS, content_key
from anoclust_core.records import DatasetManifest, EmbeddingSpec, Reference
from anoclust_core.weighting.reference import choose_reference
from tasks.images.anomaly_maps import maps_digest

_LABELS_RULE: Final = "as many as there are classes, since every image has a label (protocol {})"


_CLUSTERING: Final = ("embed", "pair", "localize", "describe", "weigh", "group")
"""Stages that a partition depends on."""


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
    """

    embedding: str
    distances: str
    embed: str


def embedding_keys(manifest: DatasetManifest, spec: EmbeddingSpec) -> EmbeddingKeys:
    """Make the keys of the embeddings of a manifest's images."""
    embedding = _key("embed", spec=spec.identity)
    return EmbeddingKeys(
        embedding=embedding,
        distances=_key("pair", embedding=embedding),
        embed=_key("embed", embedding=embedding, images=sorted(image.sha256 for image in manifest.images)),
    )


@dataclass(frozen=True)
class RunPlan:
    """Keys of every stage, and the choices that they depend on.

    Attributes
    ----------
    reference
        Images that rarity is measured against; None where the weights follow given maps.
    among
        The clustered images themselves, all of them, where the clustering is by a Hausdorff distance; else None.
    n_clusters, n_clusters_rule
        Number to cut, or None for the label-free suggestion; and why.
    images
        Keys of what comes from the images alone.
    pair, localize
        Keys of what weights come from: nearest distances to the reference, or anomaly maps; the other one is None.
    weigh, group, evaluate
        Keys of the stages' results.
    run
        Key of everything that a run's folder shows.
    """

    reference: Reference | None
    among: Reference | None
    n_clusters: int | None
    n_clusters_rule: str
    images: EmbeddingKeys
    pair: str | None
    localize: str | None
    weigh: str
    group: str
    evaluate: str
    run: str

    @property
    def keys(self) -> dict[str, str]:
        """Keys that a run's summary tells: where other commands find what the run is made of."""
        stages = {stage: getattr(self, stage) for stage in ("pair", "localize", "weigh", "group", "evaluate")}
        of_images = {"embedding": self.images.embedding, "distances": self.images.distances}
        return {**of_images, **{stage: key for stage, key in stages.items() if key}}


def used_images(manifest: DatasetManifest, config: RunConfig) -> DatasetManifest:
    """Images that the method works with."""
    return manifest.without_normals() if config.method == "blind" else manifest


def plan_run(manifest: DatasetManifest, config: RunConfig, spec: EmbeddingSpec) -> RunPlan:
    """Make the keys of a run over the images of a manifest.

    Raises
    ------
    ConfigError
        If more clusters are asked for than there are images.
    ResourceError
        If the distances to the reference do not fit their budget.
    DatasetError
        If there is no map for any image, where the weights follow maps.
    """
    clustered = manifest.clustered
    labels = [image.label for image in clustered]
    n_clusters, rule = _number_of_clusters(labels, config)
    if n_clusters is not None and n_clusters > len(clustered):
        raise ConfigError(f"--n-clusters {n_clusters}: {manifest.category} has only {len(clustered)} images to cluster")
    images = embedding_keys(manifest, spec)
    maps = maps_digest(config.weigh.maps, manifest) if config.weigh.maps else None
    is_blind = config.method == "blind"
    reference = None if maps or is_blind else _reference(manifest, config, spec, size=config.pair.reference)
    among = None
    if config.group.distance != "weighted_average":
        among = _reference(manifest.blind(), config, spec, size=len(clustered))
    pair = pair_key(images, manifest, reference) if reference else None
    if is_blind and config.blind.contrastive and config.blind.threshold == "kmeans-quantile" and n_clusters is None:
        raise ConfigError(
            "--threshold kmeans-quantile needs the number of classes; label every image, give --n-clusters, or choose "
            "another threshold"
        )
    localize = localize_key(images, manifest, config) if is_blind else None
    weigh = (
        describe_key(localize, config, n_classes=n_clusters)
        if localize
        else _key(
            "weigh",
            pair=pair,
            maps=maps and {"digest": maps, "images": images.embed},
            uniform=config.weigh.weights == "uniform",
            tau=config.weigh.tau,
        )
    )
    group = _key(
        "group",
        weigh=weigh,
        distance=config.group.distance,
        linkage=config.group.linkage,
        n_clusters=n_clusters,
        rule=rule,
    )
    evaluate = _key("evaluate", group=group, protocol=config.protocol, labels=labels)
    return RunPlan(
        reference=reference,
        among=among,
        n_clusters=n_clusters,
        n_clusters_rule=rule,
        images=images,
        pair=pair,
        localize=localize,
        weigh=weigh,
        group=group,
        evaluate=evaluate,
        run=_key("report", evaluate=evaluate, shown=_shown(manifest), recipe=config.method),
    )


def settings_key(config: RunConfig, spec: EmbeddingSpec) -> str:
    """Key of everything but the images that decides a clustering; nights with different keys must not be mixed.

    What says which images there are, how long to wait and where to compute does not belong to it.
    """
    return content_key(
        "settings",
        {
            "method": config.method,
            "seed": config.seed,
            "spec": spec.identity,
            "normals": config.data.normals,
            "reference": config.pair.reference,
            "store_budget": int(config.pair.store_budget),
            "weigh": config.weigh.model_dump(),
            "blind": config.blind.model_dump() if config.method == "blind" else None,
            "group": config.group.model_dump(),
            "versions": {stage: ALGORITHM_VERSIONS[stage] for stage in _CLUSTERING},
        },
    )


def pair_key(images: EmbeddingKeys, manifest: DatasetManifest, reference: Reference) -> str:
    """Key of the nearest distances from the clustered images to a reference."""
    return _key("pair", distances=images.distances, dataset=manifest.dataset_hash, reference=asdict(reference))


def localize_key(images: EmbeddingKeys, manifest: DatasetManifest, config: RunConfig) -> str:
    """Key of the anomaly maps of recipe blind; without a VAE neither variant nor seed matter."""
    trained = {"variant": config.blind.variant, "seed": config.seed} if config.blind.vae else None
    return _key("localize", embedding=images.embedding, dataset=manifest.blind().dataset_hash, vae=trained)


def describe_key(localize: str, config: RunConfig, *, n_classes: int | None) -> str:
    """Key of the weights and descriptors of recipe blind."""
    head = None
    if config.blind.contrastive:
        by_classes = n_classes if config.blind.threshold == "kmeans-quantile" else None
        head = {
            "variant": config.blind.variant,
            "seed": config.seed,
            "threshold": config.blind.threshold,
            "n_classes": by_classes,
        }
    return _key(
        "describe",
        localize=localize,
        tau=config.weigh.tau,
        flat_field=config.blind.flat_field,
        border=config.blind.border,
        head=head,
    )


def _reference(manifest: DatasetManifest, config: RunConfig, spec: EmbeddingSpec, *, size: int | None) -> Reference:
    return choose_reference(
        manifest, size=size, budget=config.pair.store_budget, n_patches=spec.n_patches, seed=config.seed
    )


def _shown(manifest: DatasetManifest) -> dict[str, object]:
    """What a report shows of its images; where their files lie and how old they are is not part of it."""
    images = [{**asdict(image), "file": None, "mask": None, "mtime_ns": None} for image in manifest.images]
    return {**manifest.as_json(), "images": images}


def _number_of_clusters(labels: list[str | None], config: RunConfig) -> tuple[int | None, str]:
    if config.group.n_clusters is not None:
        return config.group.n_clusters, "as asked for with --n-clusters"
    if all(label is not None for label in labels):
        classes = n_classes(protocol_named(config.protocol), labels)
        if classes:
            return classes, _LABELS_RULE.format(config.protocol)
    return None, "suggested without labels"


def _key(stage: str, **parts: object) -> str:
    return content_key(stage, {**parts, "version": ALGORITHM_VERSIONS[stage]})
