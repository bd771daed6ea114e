"""What reading images takes: embedding, detectors and their training."""

from __future__ import annotations

from anoclust_core.memory.plan import FIXED, SMALLER, MemoryPlan


def embed_plan(
    *,
    n_values: int,
    image_size: int,
    weight_bytes: int,
    activation_bytes: int,
    images_at_once: int,
    batch: int,
    threads: int,
    segment_images: int,
    decode_bytes: int,
    n_tiles: int = 1,
) -> MemoryPlan:
    """Predict the peak of embedding.

    Parameters
    ----------
    n_values
        Numbers that the bags of one image hold, on all levels.
    image_size
        Side of a picture as the network sees it.
    weight_bytes
        Of the network's weights in single precision.
    activation_bytes
        Live at the peak of the forward pass of one image.
    images_at_once
        Images that networks compute at the same time.
    batch, threads
        Pictures that the network is given at once, and such batches side by side; of frames in tiles, a picture is one
        tile, and a batch has no more frames than there are tiles in it.
    segment_images
        Images that are held until they are written.
    decode_bytes
        Of all pictures that are being decoded at a time.
    n_tiles
        Pictures that the network sees of one image.
    """
    at_rest = 2 * n_values
    frames = max(1, batch // n_tiles)
    pictures = min(batch, frames * n_tiles)
    prepared = 3 * image_size**2 * 4
    return MemoryPlan(
        stage="embed",
        parts={
            "the network": 3 * weight_bytes,
            "its activations": 2 * images_at_once * activation_bytes,
            "decoding the largest images": decode_bytes,
            "prepared images": 3 * threads * batch * prepared,
            "new embeddings": threads * pictures * 16 * n_values // n_tiles,
            "finished embeddings": at_rest * (4 * segment_images + (5 * threads + 1) * frames),
            "the rest": FIXED,
        },
        knob=f"{SMALLER} or choose a smaller --backbone",
    )


def detect_plan(
    *,
    map_values: int,
    input_pixels: int,
    weight_bytes: int,
    activation_bytes: int,
    threads: int,
    segment_maps: int,
    decode_bytes: int,
) -> MemoryPlan:
    """Predict the peak of making maps with a detector.

    Parameters
    ----------
    map_values
        Numbers of one map.
    input_pixels
        Of one picture as the detector sees it.
    weight_bytes, activation_bytes
        Of the model's constants, and of all that it computes for one picture, in one thread.
    threads
        Pictures that are looked at side by side.
    segment_maps
        Maps that are held until they are written.
    decode_bytes
        Of all pictures that are being decoded at a time.
    """
    return MemoryPlan(
        stage="detect",
        parts={
            "the detector": 3 * weight_bytes,
            "its activations": threads * activation_bytes,
            "decoding the largest images": decode_bytes,
            "resized images": threads * input_pixels * 3 * 12,
            "new maps": 4 * map_values * (3 * segment_maps + 4 * threads),
            "the rest": FIXED,
        },
        knob="export the detector for a smaller picture",
    )


def training_plan(*, picture_bytes: int, kept_bytes: int, network_bytes: int) -> MemoryPlan:
    """Predict the peak of training a detector.

    Parameters
    ----------
    picture_bytes
        Of all pictures that it is trained on, as it sees them.
    kept_bytes
        Of the features that it remembers.
    network_bytes
        Of its network, and of what a step computes.
    """
    return MemoryPlan(
        stage="detector train",
        parts={
            "the pictures": picture_bytes,
            "features that are remembered": kept_bytes,
            "the network": network_bytes,
            "the rest": 8 * FIXED,
        },
        knob="lower --image-size, or give fewer images",
    )
