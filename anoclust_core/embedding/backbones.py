"""Feature extractors: any timm model that gives feature maps, CNN or ViT, from a name and a state dict."""

from __future__ import annotations

import copy
import sys
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from anoclust_core.arrays import checked_tensor
from anoclust_core.embedding.architectures import timm
from anoclust_core.embedding.precision import Precision
from anoclust_core.errors import ConfigError, StoreError
from anoclust_core.records import EmbeddingSpec

TIMM_NAMES: Final = {
    "efficientnet_lite0": "tf_efficientnet_lite0",  # installed with the extra `backbones`
    "efficientnet_lite1": "tf_efficientnet_lite1",
    "efficientnet_lite2": "tf_efficientnet_lite2",  # its weights are installed with Anoclust
    "wide_resnet50_2": "wide_resnet50_2.tv_in1k",  # the papers' weights; timm's own default was trained later
}
"""Backbones whose name stands for another one in timm; any other timm name is taken as it is."""

CNN_STRIDE: Final = 8
"""Default feature level of a CNN in input pixels a cell: [SOHN23] takes the second residual block."""

CNN_PATCH_POOLING: Final = 3
"""Side of the average pooling over a CNN's feature map, [SOHN23] sec. 4; a ViT's tokens are taken as they are."""


FOLDING_TOLERANCE: Final = 1e-4
"""Largest relative difference of a patch's features after folding batch normalisations: float32 rounding, no more."""

_NOT_ADAPTED: Final = (LookupError, RuntimeError, AttributeError, TypeError, ValueError, AssertionError)
"""timm renames weights of older programs, and raises all of these on those of another network."""


def timm_name(backbone: str) -> str:
    """Name of the timm architecture behind a backbone.

    Raises
    ------
    ConfigError
        If timm knows no such model.
    """
    name = TIMM_NAMES.get(backbone, backbone)
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = get_close_matches(architecture, timm.list_models(), n=3)
        raise ConfigError(
            f"timm has no model named {backbone!r}; "
            + (f"did you mean one of {', '.join(close)}?" if close else "`timm.list_models()` prints all names")
        )
    if tag and name not in timm.list_pretrained(architecture):
        known = ", ".join(timm.list_pretrained(architecture)) or "none"
        raise ConfigError(f"timm has no weights named {name!r}; for {architecture} it has {known}")
    return name


def level_strides(backbone: str, image_size: int) -> list[int]:
    """Pixels of the input in a cell, of each feature level of a backbone, as timm numbers them.

    Raises
    ------
    ConfigError
        If the model is unknown, gives no feature maps or refuses the image size.
    """
    return _strides(_create(timm_name(backbone), image_size))


def last_layer(backbone: str, image_size: int) -> int:
    """Index of a backbone's deepest feature level, as timm numbers them; raises what `level_strides` does."""
    return len(level_strides(backbone, image_size)) - 1


def describe(
    backbone: str,
    *,
    weights: str | None,
    layers: tuple[int, ...] | None,
    image_size: int,
    as_maps: bool = False,
    in_levels: bool = False,
    precision: Precision = "float32",
) -> EmbeddingSpec:
    """Work out everything that decides the embeddings of a backbone.

    The architecture is built with random weights and one black image is passed through it.

    Parameters
    ----------
    backbone
        A key of `TIMM_NAMES` or any timm model name.
    weights
        Identity of the weights; None takes the tag of the weights that timm would download.
    layers
        Feature levels as timm numbers them, or None for the default: the level with stride 16 of EfficientNet-Lite,
        with stride 8 of another CNN, the middle block of a ViT. As maps EfficientNet-Lite gives both strides.
    image_size
        Side of the square input in pixels.
    as_maps
        Whether features are taken as [ARDELEAN24] takes them: neither averaged over neighbours nor scaled to unit norm,
        from images squashed bilinearly.
    in_levels
        Whether levels are kept apart, as recipe ``auto`` takes them: the first of ``layers``, and the others joined as
        the spec's ``deeper`` level. By default that is the next level of a CNN, and of a ViT the block at three
        quarters of its depth.
    precision
        What the network computes in.

    Raises
    ------
    ConfigError
        If the model is unknown, gives no feature maps, has no such layer or refuses the image size.
    """
    name = timm_name(backbone)
    model = _create(name, image_size)
    levels = _strides(model)
    chosen = tuple(sorted(set(layers))) if layers else _default_layers(name, levels, as_maps=as_maps)
    if in_levels and not layers:
        chosen += _next_level(levels, chosen[0])
    if not all(0 <= layer < len(levels) for layer in chosen):
        strides = ", ".join(f"{index} (stride {stride})" for index, stride in enumerate(levels))
        raise ConfigError(f"{backbone} has the layers {strides}; found --layers {','.join(map(str, chosen))}")
    config = model.pretrained_cfg
    pooling = 1 if as_maps or _is_isotropic(levels) else CNN_PATCH_POOLING
    if _is_isotropic(levels) and image_size % levels[0]:
        raise ConfigError(
            f"{backbone} cuts images into patches of {levels[0]} px and would leave out the last "
            f"{image_size % levels[0]} of {image_size}; try --image-size {image_size // levels[0] * levels[0]}"
        )
    deeper = None
    if in_levels and len(chosen) > 1:
        deeper = describe(
            backbone, weights=weights, layers=chosen[1:], image_size=image_size, as_maps=as_maps, precision=precision
        )
        chosen = chosen[:1]
    extractor = FeatureExtractor(model, layers=chosen, patch_pooling=pooling)
    try:
        with torch.inference_mode():
            bags = extractor.eval()(torch.zeros(1, 3, image_size, image_size))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise _size_refused(name, image_size, error) from error
    return EmbeddingSpec(
        backbone=backbone,
        timm_model=name,
        weights=weights or f"timm/{config.get('architecture', name)}.{config.get('tag') or 'default'}",
        layers=tuple(chosen),
        image_size=image_size,
        interpolation="bilinear" if as_maps else str(config["interpolation"]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        patch_pooling=pooling,
        grid=extractor.grid,
        dim=int(bags.shape[2]),
        unit_norm=not as_maps,
        precision=precision,
        deeper=deeper,
    )


def build_extractor(spec: EmbeddingSpec, state_dict: Mapping[str, Tensor]) -> FeatureExtractor:
    """Build the feature extractor of a spec with the given weights.

    Parameters
    ----------
    spec
        From `describe`.
    state_dict
        Weights under timm's own names; those of the classifier may be missing or of any shape.

    Raises
    ------
    StoreError
        If weights of the feature extractor are missing, unknown or of another shape.
    """
    model = _create(spec.timm_model, spec.image_size)
    adapt = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    try:
        state = dict(adapt(dict(state_dict), model) if adapt else state_dict)
    except _NOT_ADAPTED as error:
        raise _do_not_fit(spec, f"timm cannot rename them ({type(error).__name__}: {error})") from error
    heads = model.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    state = {key: value for key, value in state.items() if not any(key.startswith(f"{head}.") for head in heads)}
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise _do_not_fit(spec, str(error).splitlines()[1].strip()) from error
    deeper = spec.deeper.layers if spec.deeper else ()
    return FeatureExtractor(model, layers=spec.layers, patch_pooling=spec.patch_pooling, deeper_layers=deeper).eval()


def _do_not_fit(spec: EmbeddingSpec, why: str) -> StoreError:
    return StoreError(
        f"the weights {spec.weights} do not fit {spec.timm_model}: {why[:300]}; give the checkpoint of this very "
        "architecture"
    )


class FeatureExtractor(nn.Module):
    """From normalised images to bags of patch features: levels pooled, joined on the finest grid, flattened row by row.

    Parameters
    ----------
    model
        A timm model with ``forward_intermediates``.
    layers
        Feature levels to join, ascending.
    patch_pooling
        Side of the average pooling with stride 1; cells outside the map do not count.
    deeper_layers
        Levels that are joined with each other, and then repeated on the finest grid behind the others: behind the last
        dimension of ``layers``, every patch has the coarse cell that it lies in, so that `split_levels` finds it again.
    """

    def __init__(
        self, model: nn.Module, *, layers: tuple[int, ...], patch_pooling: int, deeper_layers: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.model = model
        self.layers = layers
        self.deeper_layers = deeper_layers
        self.patch_pooling = patch_pooling
        self.grid: tuple[int, int] = (0, 0)

    def forward(self, images: Tensor) -> Tensor:
        """Shape ``(n, 3, side, side)`` to ``(n, n_patches, dim)``; not normalised to unit length."""
        maps: list[Tensor] = self.model.forward_intermediates(  # type: ignore[operator]
            images,
            indices=[*self.layers, *self.deeper_layers],
            intermediates_only=True,
            stop_early=True,
            output_fmt="NCHW",
        )
        pooled = [
            functional.avg_pool2d(level, self.patch_pooling, 1, self.patch_pooling // 2, count_include_pad=False)
            for level in maps
        ]
        joined = _joined(pooled[: len(self.layers)])
        self.grid = (joined.shape[2], joined.shape[3])
        if self.deeper_layers:
            deeper = functional.interpolate(_joined(pooled[len(self.layers) :]), self.grid, mode="nearest")
            joined = torch.cat([joined, deeper], dim=1)
        return joined.flatten(2).transpose(1, 2)


def _joined(levels: list[Tensor]) -> Tensor:
    """Join levels, each ``(n, dim, height, width)``, on the finest grid among them."""
    grid = max(((level.shape[2], level.shape[3]) for level in levels), key=lambda grid: grid[0] * grid[1])
    return torch.cat(
        [
            level
            if tuple(level.shape[-2:]) == grid
            else functional.interpolate(level, grid, mode="bilinear", align_corners=False)
            for level in levels
        ],
        dim=1,
    )


def fold_batch_norms(extractor: FeatureExtractor, image_size: int) -> FeatureExtractor:
    """Fold every batch normalisation into the convolution before it: the same features from fewer passes over memory.

    Which normalisation follows which convolution is seen by passing an image through, since the order of a model's
    parts says nothing about the order of its computation. The result is compared with the original.

    Parameters
    ----------
    extractor
        In evaluation mode, on the CPU.
    image_size
        Side of the square input in pixels.

    Returns
    -------
    extractor
        A folded copy where its features agree within ``FOLDING_TOLERANCE``, otherwise the original: a model that uses
        a convolution's output twice, or changes its weights on the way, cannot be folded.
    """
    image = random_image(image_size)
    folded = copy.deepcopy(extractor)
    with torch.no_grad():  # in inference mode the new weights would be tensors that some kernels refuse
        for convolution, norm in _convolutions_before_norms(folded, image):
            parts = dict(folded.named_modules())
            _replace(folded, convolution, fuse_conv_bn_eval(parts[convolution], parts[norm]))
            after = [part for part in (getattr(parts[norm], "drop", None), getattr(parts[norm], "act", None)) if part]
            _replace(folded, norm, nn.Sequential(*after))
        difference = largest_difference(folded(image), extractor(image))
    return folded if difference <= FOLDING_TOLERANCE else extractor


def random_image(image_size: int) -> Tensor:
    """Shape ``(1, 3, image_size, image_size)``, float32 in [-1, 1): what two forms of one network are compared on."""
    return torch.rand(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def largest_difference(found: Tensor, expected: Tensor) -> float:
    """Largest norm of a difference between two patches' features, relative to the expected one's norm.

    Both have shape ``(n, n_patches, dim)``.
    """
    found = checked_tensor("found", found, "(n_images, n_patches, dim)")
    expected = checked_tensor("expected", expected, "(n_images, n_patches, dim)")
    smallest = torch.finfo(torch.float32).tiny
    return float(((found - expected).norm(dim=2) / expected.norm(dim=2).clamp_min(smallest)).max())


@dataclass(frozen=True)
class NetworkSize:
    """Bytes that a network takes: its weights in single precision, and, for one image, its activations.

    These are the tensors that live at the same time in the forward pass, at the peak. What a kernel needs for itself is
    not seen.
    """

    weight_bytes: int
    activation_bytes: int


def network_size(extractor: FeatureExtractor, image_size: int) -> NetworkSize:
    """Measure an extractor on the CPU: it computes one image.

    That is faster than shapes without values on torch's ``meta`` device.
    """
    with torch.inference_mode(), _LiveBytes() as live:
        extractor(torch.zeros(1, 3, image_size, image_size))
    weights = sum(part.nbytes for part in extractor.parameters())
    return NetworkSize(weights, live.peak)


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that operations have made and that nobody has let go of."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self._now = 0
        self._seen: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would import its compiler, only to keep it away from here."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count its results; views of a counted tensor cost nothing."""
        result = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        address = storage._cdata
        if address in self._seen:
            return
        self._seen.add(address)
        self._now += storage.nbytes()
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._forget, address, storage.nbytes())

    def _forget(self, address: int, size: int) -> None:
        self._seen.discard(address)
        self._now -= size


def _convolutions_before_norms(extractor: FeatureExtractor, image: Tensor) -> list[tuple[str, str]]:
    """Names of convolutions and the batch normalisations that take their output, both run exactly once."""
    names = {part: name for name, part in extractor.named_modules()}
    outputs: list[tuple[Tensor, str]] = []
    pairs: list[tuple[str, str]] = []
    runs: Counter[str] = Counter()

    def after_convolution(part: nn.Module, _: object, output: Tensor) -> None:
        runs[names[part]] += 1
        outputs.append((output, names[part]))

    def before_norm(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        runs[names[part]] += 1
        pairs.extend((name, names[part]) for output, name in outputs if output is inputs[0])

    hooks = [
        part.register_forward_hook(after_convolution)
        if isinstance(part, nn.Conv2d)
        else part.register_forward_pre_hook(before_norm)
        for part in names
        if isinstance(part, nn.Conv2d | nn.BatchNorm2d)
    ]
    extractor(image)
    for hook in hooks:
        hook.remove()
    return [pair for pair in pairs if runs[pair[0]] == runs[pair[1]] == 1]


def _replace(root: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, part)


def _create(name: str, image_size: int) -> Any:
    """Build a timm model without classifier and without weights, for a square input."""
    config = timm.get_pretrained_cfg(name)
    # a ViT is built for one input size; a CNN takes any and knows no such argument
    size: dict[str, Any] = {"img_size": image_size} if config and config.fixed_input_size else {}
    try:
        model = timm.create_model(name, pretrained=False, num_classes=0, **size)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise _size_refused(name, image_size, error) from error
    if not hasattr(model, "forward_intermediates"):
        raise ConfigError(f"timm's {name} gives no feature maps; choose a model with `forward_intermediates`")
    return model


def _strides(model: Any) -> list[int]:
    return [level["reduction"] for level in model.feature_info]


def _size_refused(name: str, image_size: int, error: Exception) -> ConfigError:
    return ConfigError(f"{name} does not accept images of {image_size} px ({error}); try another --image-size")


def _is_isotropic(strides: list[int]) -> bool:
    """Tell a ViT, whose blocks all have one resolution, from a CNN or a pyramid."""
    return len(set(strides)) == 1


def _next_level(strides: list[int], first: int) -> tuple[int, ...]:
    """Level that describes images beside the first: the next one of a CNN, a late block of a ViT; none behind it."""
    deeper = 3 * len(strides) // 4 if _is_isotropic(strides) else first + 1
    return (deeper,) if first < deeper < len(strides) else ()


def _default_layers(name: str, strides: list[int], *, as_maps: bool) -> tuple[int, ...]:
    if _is_isotropic(strides):
        return (len(strides) // 2,)
    wanted: tuple[int, ...] = (CNN_STRIDE,)
    if name.startswith("tf_efficientnet_lite"):
        wanted = (CNN_STRIDE, 16) if as_maps else (16,)
    return tuple(min(range(len(strides)), key=lambda level: (abs(strides[level] - stride), level)) for stride in wanted)
