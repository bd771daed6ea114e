"""The network's last embedding of whole images: the holistic baseline of the benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from prefect import task

from anoclust_core.embedding.backbones import build_extractor
from anoclust_core.embedding.extraction import choose_device, embed_holistically, prepare_image
from anoclust_core.embedding.resizing import square_of
from anoclust_core.records import ArrayHandle
from tasks.images.decoding import read_image
from tasks.networks.checkpoints import load_state_dict
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE, Progress
from tasks.stores import arrays
from tasks.stores.manifests import load_manifest

BATCH_IMAGES = 8
"""Images that go through the network at a time."""


@task(name="holistic", **STAGE)
def holistic(*, run: CategoryRun, key: str, manifest: str, folder: str) -> ArrayHandle:
    """Embed every clustered content as a whole; rows in ascending order of the content hashes."""
    embed, spec = run.config.embed, run.spec
    images = {image.sha256: image for image in load_manifest(Path(manifest)).clustered}
    device = choose_device(embed.device)
    state_dict = load_state_dict(embed.backbone, spec.timm_model, embed.checkpoint)
    extractor = build_extractor(spec, state_dict).to(device).to(memory_format=torch.channels_last)
    progress = Progress("holistic", run.category)
    found = []
    contents = [images[sha256] for sha256 in sorted(images)]
    for start in range(0, len(contents), BATCH_IMAGES):
        batch = contents[start : start + BATCH_IMAGES]
        pictures = [read_image(Path(image.file), sha256=image.sha256, deep=spec.deep) for image in batch]
        squares = [
            square_of(pixels, spec.seen_box(pixels.shape[:2]), side=spec.image_size, interpolation=spec.interpolation)
            for pixels in pictures
        ]
        prepared = [prepare_image(pixels, spec) for pixels in squares]
        found.append(embed_holistically(extractor, np.stack(prepared), device=device))
        progress(start + len(batch), len(contents))
    stored = {"embeddings": np.concatenate(found)}
    arrays.write_arrays(Path(folder), stored, {})
    return ArrayHandle(uri=folder, key=key, shapes={name: values.shape for name, values in stored.items()})
