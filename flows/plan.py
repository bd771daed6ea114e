"""What a run would do, from keys alone: neither torch nor Prefect is imported for the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.evaluation.protocols import n_classes, protocol_named
from anoclust_core.records import DatasetManifest, EmbeddingSpec, Reference
from anoclust_core.weighting.parts import labels_by_part, one_of_each_part
from anoclust_core.weighting.reference import choose_reference
from tasks.images.anomaly_maps import maps_digest
from tasks.stores.stage_keys import EmbeddingKeys, RunInputs, embedding_keys, run_keys

_LABELS_RULE: Final = "as many as there are classes, since every {} has a label (protocol {})"


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
    keys
        Keys of the stages that have a part in the run, see `tasks.stores.stage_keys.STAGES`.
    run
        Key of everything that a run's folder shows.
    """

    reference: Reference | None
    among: Reference | None
    n_clusters: int | None
    n_clusters_rule: str
    images: EmbeddingKeys
    keys: Mapping[str, str]
    run: str

    @property
    def told(self) -> dict[str, str]:
        """Keys that a run's summary tells: where other commands find what the run is made of."""
        beside = {"deeper": self.images.deeper, "covers": self.images.covers, "detected": self.images.detected}
        beside = {name: key for name, key in beside.items() if key}
        return {"embedding": self.images.embedding, "distances": self.images.distances, **beside, **self.keys}


def used_images(manifest: DatasetManifest, config: RunConfig) -> DatasetManifest:
    """Images that the method works with."""
    return manifest.without_normals() if config.recipe == "blind" else manifest


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
    clustered, labels = manifest.compared, [image.label for image in manifest.clustered]
    n_units = len(labels)
    if config.group.by == "part":
        labels = labels_by_part(one_of_each_part(clustered), clustered)
        n_units = len(labels)
        if n_units < 2:
            raise DatasetError(f"category {manifest.category} has {n_units} part to cluster, but at least 2 are needed")
    n_clusters, rule = _number_of_clusters(labels, config)
    if n_clusters is not None and n_clusters > n_units:
        raise ConfigError(
            f"--n-clusters {n_clusters}: {manifest.category} has only {n_units} {config.group.by}s to cluster"
        )
    if config.group.bounds and config.group.bounds[0] > n_units:
        raise ConfigError(
            f"--n-clusters {config.group.n_clusters}: {manifest.category} has only {n_units} {config.group.by}s to "
            "cluster"
        )
    images = embedding_keys(manifest, spec)
    maps = maps_digest(config.weigh.maps, manifest) if config.weigh.maps else images.detected or None
    is_blind = config.recipe == "blind"
    reference = None if maps or is_blind else _reference(manifest, config, spec, size=config.pair.reference)
    among = None
    if config.group.distance != "weighted_average":
        among = _reference(manifest.blind(), config, spec, size=len(clustered))
    if is_blind and config.blind.contrastive and config.blind.threshold == "kmeans-quantile" and n_clusters is None:
        raise ConfigError(
            "--threshold kmeans-quantile needs the number of classes; label every image, give --n-clusters, or choose "
            "another threshold"
        )
    keys = run_keys(RunInputs(manifest, config, images, reference, maps, n_clusters, rule))
    run = keys.pop("report")
    return RunPlan(reference, among, n_clusters, rule, images, keys, run)


def _reference(manifest: DatasetManifest, config: RunConfig, spec: EmbeddingSpec, *, size: int | None) -> Reference:
    return choose_reference(
        manifest, size=size, budget=config.pair.store_budget, n_patches=spec.n_patches, seed=config.seed
    )


def _number_of_clusters(labels: list[str | None], config: RunConfig) -> tuple[int | None, str]:
    if config.group.number is not None:
        return config.group.number, "as asked for with --n-clusters"
    if config.group.bounds is None and all(label is not None for label in labels):
        classes = n_classes(protocol_named(config.protocol), labels)
        if classes:
            return classes, _LABELS_RULE.format(config.group.by, config.protocol)
    return None, "suggested without labels"
