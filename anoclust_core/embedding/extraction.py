"""From pixels to bags of patch embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from anoclust_core.arrays import checked_array
from anoclust_core.bags import normalize_patches
from anoclust_core.embedding.backbones import FeatureExtractor
from anoclust_core.embedding.precision import Precision
from anoclust_core.embedding.resizing import RESAMPLING
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.records import EmbeddingSpec


def prepare_image(
    pixels: NDArray[np.uint8], spec: EmbeddingSpec, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Squash an image to the backbone's square and normalise it as in the backbone's training.

    Parameters
    ----------
    pixels
        Shape ``(height, width, 3)``, uint8, RGB.
    spec
        Size, interpolation, mean and standard deviation (of values in [0, 1]).
    out
        Where it is written, such as a place in a batch; None is a new array.

    Returns
    -------
    image
        Shape ``(3, image_size, image_size)``, float32.

    Raises
    ------
    ArrayContractError
        If the pixels are not RGB bytes.
    """
    pixels = checked_array("pixels", pixels, "(height, width, 3)", dtype=np.uint8, least=1)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ArrayContractError(f"an image is (height, width, 3) uint8; found {pixels.shape} {pixels.dtype}")
    size = (spec.image_size, spec.image_size)
    if out is not None:
        out = checked_array("out", out, "(3, height, width)", dtype=np.float32, lists=False)
        if out.shape != (3, *size):
            raise ArrayContractError(f"expected out of shape {(3, *size)}, found {out.shape}")
    source = pixels[..., 0] if _is_grey(pixels) else pixels  # one channel for three: most cameras on a line are grey
    square = np.asarray(Image.fromarray(source).resize(size, RESAMPLING[spec.interpolation]))
    mean, std = np.array(spec.mean, np.float32)[:, None, None], np.array(spec.std, np.float32)[:, None, None]
    planes = np.ascontiguousarray(np.atleast_3d(square).transpose(2, 0, 1))  # bytes: a quarter of what moves as float32
    into = np.empty((3, *size), np.float32) if out is None else out
    normalised: NDArray[np.float32] = np.multiply(planes, 1 / (255 * std), out=into, dtype=np.float32)
    normalised -= mean / std
    return normalised


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Whether the three channels are the same; a sixteenth of the rows tells most coloured images at once."""
    share_memory = pixels.strides[2] == 0
    return share_memory or all(
        np.array_equal(pixels[::step, :, 0], pixels[::step, :, other]) for step in (16, 1) for other in (1, 2)
    )


def embed_images(
    extractor: Callable[[Tensor], Tensor],
    images: NDArray[np.float32],
    *,
    device: str,
    unit_norm: bool = True,
    precision: Precision = "float32",
) -> NDArray[np.float32]:
    """Bags of patch embeddings of a batch of prepared images.

    Parameters
    ----------
    extractor
        From `build_extractor`, already on ``device``, or a `ConvertedExtractor`, whose precision is its own.
    images
        Shape ``(n_images, 3, side, side)``, float32, from `prepare_image`.
    device
        Torch device.
    unit_norm
        Whether to scale every patch to unit L2 norm.
    precision
        What torch computes convolutions and products in.

    Returns
    -------
    bags
        Shape ``(n_images, n_patches, dim)``, float32; patches row by row over the grid.

    Raises
    ------
    ArrayContractError
        If the backbone gives NaN or infinity.
    """
    images = checked_array("images", images, "(n_images, 3, height, width)", dtype=np.float32, least=1)
    batch = torch.from_numpy(images)
    if isinstance(extractor, nn.Module):
        batch = batch.to(device, memory_format=torch.channels_last)
    kind = device.partition(":")[0]
    with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
        features: NDArray[Any] = extractor(batch).float().cpu().numpy()
    if unit_norm:
        return normalize_patches(features)
    if not np.isfinite(features).all():
        raise ArrayContractError("features must be finite; found NaN or infinity: check the backbone's weights")
    return features


def embed_levels(
    extractor: Callable[[Tensor], Tensor], images: NDArray[np.float32], spec: EmbeddingSpec, *, device: str
) -> list[NDArray[np.float32]]:
    """Bags of every feature level of a batch of prepared images.

    Parameters
    ----------
    extractor, images, device
        As `embed_images` takes them.
    spec
        That the extractor was built by.

    Returns
    -------
    levels
        Of each of ``spec.levels`` the bags, shape ``(n_images, its n_patches, its dim)``, float32.

    Raises
    ------
    ArrayContractError
        If the backbone gives NaN or infinity, or other levels than the spec's.
    """
    has_unit_norm = spec.unit_norm and spec.deeper is None
    bags = embed_images(extractor, images, device=device, unit_norm=has_unit_norm, precision=spec.precision)
    return split_levels(bags, spec) if spec.deeper else [bags]


def split_levels(bags: NDArray[np.float32], spec: EmbeddingSpec) -> list[NDArray[np.float32]]:
    """Take apart what an extractor with a deeper level gave; each level has unit norm if its spec says so.

    Parameters
    ----------
    bags
        Shape ``(n_images, n_patches, dim)`` on the grid of ``spec``, the deeper level's dimensions last, from
        `embed_images` without unit norm.
    spec
        From `anoclust_core.embedding.backbones.describe`.

    Returns
    -------
    levels
        Of each of ``spec.levels`` the bags, shape ``(n_images, its n_patches, its dim)``, float32.

    Raises
    ------
    ArrayContractError
        If the shape is not that of the levels.
    """
    bags = checked_array("bags", bags, "(n_images, n_patches, dim)", least=1)
    if bags.shape[1:] != (spec.n_patches, sum(level.dim for level in spec.levels)):
        dims = [level.dim for level in spec.levels]
        raise ArrayContractError(f"expected bags of {spec.n_patches} patches and {dims} values, found {bags.shape}")
    found, first = [], 0
    for level in spec.levels:
        own = bags.reshape(len(bags), *spec.grid, -1)[..., first : first + level.dim]
        rows, columns = (-(-np.arange(few) * many // few) for few, many in zip(level.grid, spec.grid, strict=True))
        cells = own[:, rows][:, :, columns].reshape(len(bags), level.n_patches, level.dim)
        found.append(normalize_patches(cells) if level.unit_norm else np.ascontiguousarray(cells))
        first += level.dim
    return found


def embed_holistically(extractor: FeatureExtractor, images: NDArray[np.float32], *, device: str) -> NDArray[np.float32]:
    """One embedding per image from the network's last layer, after its own pooling: the *holistic* baseline.

    [SOHN23] sec. 5.1 takes "the last hidden layer of WRN-50 after average pooling, resulting in 2048 dimensional
    vector". Normalising it to unit length is not mentioned there and not done here. The paper sets it against patches
    of the same layer, the bags of `embed_images` with the last of the backbone's ``layers``: the map that a ResNet
    pools here; an EfficientNet puts one more convolution in between.

    Parameters
    ----------
    extractor
        From `build_extractor`, already on ``device``; which layers it reads does not matter.
    images
        Shape ``(n_images, 3, side, side)``, float32, from `prepare_image`; at least one.
    device
        Torch device.

    Returns
    -------
    embeddings
        Shape ``(n_images, dim)``, float32, what the classifier would be given: the pooled map of a CNN, behind its last
        convolution, the class token or mean token of a ViT.

    Raises
    ------
    ArrayContractError
        If the backbone gives NaN or infinity.
    ConfigError
        If the backbone does not pool its last layer.
    """
    images = checked_array("images", images, "(n_images, 3, height, width)", dtype=np.float32, least=1)
    batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
    model: Any = extractor.model
    with torch.inference_mode():
        pooled: NDArray[np.float32] = (
            model.forward_head(model.forward_features(batch), pre_logits=True).float().cpu().numpy()
        )
    if pooled.ndim != 2:
        raise ConfigError(f"the backbone gives {pooled.shape} and not one embedding per image; choose one that pools")
    if not np.isfinite(pooled).all():
        raise ArrayContractError("embeddings must be finite; found NaN or infinity: check the backbone's weights")
    return pooled


def choose_device(wanted: str) -> str:
    """Torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``.

    Raises
    ------
    ConfigError
        If CUDA is asked for and there is none.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda" if n_gpus else "cpu"
    if wanted.startswith("cuda") and int(wanted.partition(":")[2] or 0) >= n_gpus:
        raise ConfigError(f"--device {wanted}: torch sees {n_gpus} CUDA devices here; use --device cpu or auto")
    return wanted


def has_native_bf16(device: str) -> bool:
    """Whether a device computes in bfloat16 itself; elsewhere it is emulated, and slower than float32."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return any(bool(found.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
