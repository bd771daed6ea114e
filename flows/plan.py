"""What a run would do, from keys alone: neither torch nor Prefect is imported for the answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError
from anoclust_core.keys import content_key
from anoclust_core.protocols import n_classes, protocol_named
from anoclust_core.records import DatasetManifest, EmbeddingSpec, Reference
from anoclust_core.reference import choose_reference
from anoclust_core.versions import ALGORITHM_VERSIONS

_LABELS_RULE: Final = "as many as there are classes, since every image has a label (protocol {})"


@dataclass(frozen=True)
class RunPlan:
    """Keys of every stage, and the choices that they depend on.

    Attributes
    ----------
    reference
        Images that rarity is measured against.
    n_clusters, n_clusters_rule
        Number to cut, or None for the label-free suggestion; and why.
    embedding
        Key of the embedding spec: names the folder of segments.
    distances
        Key of embedding and distance computation: names the folder of slabs.
    embed, pair, weigh, group, evaluate
        Keys of the stages' results.
    run
        Key of everything that a run's folder shows.
    """

    reference: Reference
    n_clusters: int | None
    n_clusters_rule: str
    embedding: str
    distances: str
    embed: str
    pair: str
    weigh: str
    group: str
    evaluate: str
    run: str

    @property
    def keys(self) -> dict[str, str]:
        """Keys that a run's summary tells: where other commands find what the run is made of."""
        return {
            "embedding": self.embedding,
            "distances": self.distances,
            "pair": self.pair,
            "weigh": self.weigh,
            "group": self.group,
            "evaluate": self.evaluate,
        }


def plan_run(manifest: DatasetManifest, config: RunConfig, spec: EmbeddingSpec) -> RunPlan:
    """Make the keys of a run over the images of a manifest.

    Raises
    ------
    ConfigError
        If more clusters are asked for than there are images.
    ResourceError
        If the distances to the reference do not fit their budget.
    """
    clustered = manifest.clustered
    labels = [image.label for image in clustered]
    n_clusters, rule = _number_of_clusters(labels, config)
    if n_clusters is not None and n_clusters > len(clustered):
        raise ConfigError(f"--n-clusters {n_clusters}: {manifest.category} has only {len(clustered)} images to cluster")
    reference = choose_reference(
        manifest,
        size=config.pair.reference,
        budget=config.pair.store_budget,
        n_patches=spec.n_patches,
        seed=config.seed,
    )
    embedding = _key("embed", spec=asdict(spec))
    distances = _key("pair", embedding=embedding)
    pair = _key("pair", distances=distances, dataset=manifest.dataset_hash, reference=asdict(reference))
    weigh = _key("weigh", pair=pair, tau=config.weigh.tau)
    group = _key("group", weigh=weigh, n_clusters=n_clusters, rule=rule)
    evaluate = _key("evaluate", group=group, protocol=config.protocol, labels=labels)
    return RunPlan(
        reference=reference,
        n_clusters=n_clusters,
        n_clusters_rule=rule,
        embedding=embedding,
        distances=distances,
        embed=_key("embed", embedding=embedding, images=sorted(image.sha256 for image in manifest.images)),
        pair=pair,
        weigh=weigh,
        group=group,
        evaluate=evaluate,
        run=_key("report", evaluate=evaluate, shown=_shown(manifest), recipe=config.method),
    )


def _shown(manifest: DatasetManifest) -> dict[str, object]:
    """What a report shows of its images; where their files lie and how old they are is not part of it."""
    images = [{**asdict(image), "file": None, "mask": None, "mtime_ns": None} for image in manifest.images]
    return {**asdict(manifest), "images": images}


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
