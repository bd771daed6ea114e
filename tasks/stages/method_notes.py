"""What a run does in another way than usual, in words for its report."""

from __future__ import annotations

from collections.abc import Mapping

from anoclust_core.config import RunConfig


def method_notes(config: RunConfig, localization: Mapping[str, float] | None) -> list[str]:
    """What is done in another way than usual."""
    found = []
    if config.recipe == "auto":
        found.append(
            "Recipe auto describes every image by its rarest patches and by its average patch, at two levels of the "
            "network's features. What the patches of all images have in common counts less, and every image is drawn "
            "towards the images that are most similar to it. Clusters are cut from the merge tree of these descriptors."
        )
    if localization is not None:
        where = "what a VAE cannot reconstruct" if config.blind.vae else "the features of every image alone"
        found.append(f"Anomaly maps are made from {where} (recipe blind); scores are in the unit of these maps.")
        if "threshold" in localization:
            share = localization["anomalous_share"]
            found.append(
                f"{share:.2%} of all cells lie above the threshold {localization['threshold']:.4g} "
                f"({config.blind.threshold})"
                + ("." if share else ": none is anomalous, so descriptors were pooled without a head.")
            )
        if config.blind.border:
            found.append(
                f"A border of {config.blind.border:.1%} of each side is ignored: no defect can be found there."
            )
    if config.weigh.maps:
        found.append(f"Patches are weighted by the anomaly maps in {config.weigh.maps}, not by rarity (--weights).")
    if config.weigh.detector:
        found.append(
            f"Patches are weighted by the anomaly maps that the detector {config.weigh.detector} makes of every image, "
            "not by rarity (--weights)."
        )
    if config.weigh.weights == "uniform":
        found.append("All patches of an image have the same weight (--weights uniform).")
    if config.group.distance != "weighted_average":
        how = ", the Lance-Williams recurrence on them" if config.group.linkage == "ward" else ""
        found.append(
            f"Images are clustered by {config.group.distance} Hausdorff distances, {config.group.linkage} linkage{how} "
            "(--distance); the map and the distances to a cluster's mean are of the weighted averages."
        )
    elif config.group.linkage != "ward":
        found.append(f"Clusters are merged by {config.group.linkage} linkage (--linkage).")
    return found
