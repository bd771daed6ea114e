"""Detectors that anomalib trains, exported as OpenVINO models: the only module that imports anomalib.

anomalib is the extra ``detectors``. Its networks and losses are taken as they are; its trainer, data sets and loggers
are not: pictures come as Anoclust decodes them, and weights from files that hold tensors only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anoclust_core.embedding.backbones import build_extractor, describe, level_strides, timm_name
from anoclust_core.embedding.openvino import openvino_module
from anoclust_core.errors import ConfigError
from anoclust_core.localization.training import check_loss
from tasks.networks.checkpoints import load_state_dict
from tasks.networks.detector_training import (
    BATCH,
    CORESET,
    MOST_GAUSSIAN_IMAGES,
    MOST_PATCHES,
    PADIM_FEATURES,
    Batches,
    DetectorTraining,
    textures_in,
)
from tasks.networks.detectors import MAP_NAME

_STRIDES: Final = {"patchcore": (8, 16), "padim": (4, 8, 16)}
"""Pixels of the input in a cell of the feature levels that a method looks at: those of the papers."""


_DRAEM_STRIDE: Final = 32
"""DRAEM halves a picture five times, and doubles what is left as often."""

Progress = Callable[[int, int], None]


def check_installed() -> None:
    """Refuse to go on without anomalib.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    try:
        _anomalib()
    except ImportError as error:
        raise ConfigError(
            f"training a detector needs anomalib, which is not installed ({error}); pip install 'anoclust[detectors]'"
        ) from error


def check_training(training: DetectorTraining) -> None:
    """Refuse settings that a method cannot work with, before any picture is read.

    Raises
    ------
    ConfigError
        If the backbone is unknown or has not the feature levels that the method looks at, or pictures do not have the
        size that the method takes.
    """
    if training.method in _STRIDES:
        _levels_of(training)
    if training.method == "draem" and training.side % _DRAEM_STRIDE:
        raise ConfigError(
            f"draem takes pictures whose sides are multiples of {_DRAEM_STRIDE} pixels; found --image-size "
            f"{training.side}; try {training.side // _DRAEM_STRIDE * _DRAEM_STRIDE}"
        )


def train_detector(
    pictures: NDArray[np.uint8], training: DetectorTraining, *, device: str, progress: Progress
) -> nn.Module:
    """Train a detector.

    Parameters
    ----------
    pictures
        Shape ``(n_images, side, side, 3)``, RGB bytes: normal ones, or all that there are.
    training
        What is trained.
    device
        Of torch.
    progress
        Told what is done, and of how much.

    Returns
    -------
    detector
        From pictures ``(1, 3, side, side)`` with values from 0 to 1 to maps ``(1, 1, side, side)``, on the CPU.

    Raises
    ------
    ConfigError
        If anomalib is not installed, or textures are asked for that are not there; or as `check_training`.
    StoreError
        If the backbone's weights are not at hand, or do not fit; the message says which, and where to put them.
    """
    check_installed()
    state = None
    if training.backbone:
        state = load_state_dict(training.backbone, timm_name(training.backbone), training.checkpoint)
    with torch.random.fork_rng(), _quiet():
        torch.manual_seed(training.seed)
        mean, std = _normalisation(training.backbone)
        batches = Batches(pictures, mean, std, device)
        model = _TRAINERS[training.method](batches, state, training, progress)
    return _Detector(model.eval().cpu(), mean, std, training.side)


def export_detector(detector: nn.Module, file: Path, *, side: int) -> None:
    """Write a detector as an OpenVINO model, ``FILE.xml`` and ``FILE.bin``, for one picture of a size."""
    openvino = openvino_module()
    with _quiet(), torch.no_grad():
        given = torch.zeros(1, 3, side, side)
        program = torch.onnx.export(
            detector.eval(), (given,), dynamo=True, verbose=False, input_names=["input"], output_names=[MAP_NAME]
        )
        if program is None:
            raise ConfigError("the detector cannot be exported; another version of torch may be able to")
        model = openvino.Core().read_model(program.model_proto.SerializeToString(), b"")
        file.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(model, str(file), compress_to_fp16=False)


class _Detector(nn.Module):
    """A trained network with its normalisation, as one picture goes through it."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Tensor, std: Tensor, side: int) -> None:
        super().__init__()
        self.model = model
        self.side = side
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map of a picture."""
        found: Tensor = self.model((pictures - self.mean) / self.std).anomaly_map
        return found.reshape(1, 1, self.side, self.side)


def _patchcore(
    batches: Batches, state: dict[str, Tensor] | None, training: DetectorTraining, progress: Progress
) -> nn.Module:
    kinds, levels = _anomalib(), _levels(training, state)
    with _looking_at(kinds.patchcore, levels):
        model = kinds.patchcore.PatchcoreModel(layers=levels.names, backbone=training.backbone, pre_trained=False)
    model.to(batches.device).train()
    kept = None
    for done, batch in enumerate(batches.once(), start=1):
        embedding = model(batch)
        each = len(embedding) // len(batch)
        kept = kept or max(1, min(each, ceil(MOST_PATCHES / len(batches))))
        if kept < each:
            rows = torch.randperm(len(embedding), device=embedding.device)[: kept * len(batch)]
            model.embedding_store[-1] = embedding[rows]
        progress(min(done * BATCH, len(batches)), len(batches))
    model.memory_bank = torch.vstack(model.embedding_store)
    model.embedding_store.clear()
    sampler = kinds.k_center_greedy.KCenterGreedy(embedding=model.memory_bank, sampling_ratio=CORESET)
    sampler.model.random_state = training.seed  # else it draws from a generator that nobody has seeded
    model.memory_bank = sampler.sample_coreset()
    return model  # type: ignore[no-any-return]


def _padim(
    batches: Batches, state: dict[str, Tensor] | None, training: DetectorTraining, progress: Progress
) -> nn.Module:
    kinds, levels = _anomalib(), _levels(training, state)
    with _looking_at(kinds.padim, levels):
        model = kinds.padim.PadimModel(layers=levels.names, backbone=training.backbone, pre_trained=False, n_features=1)
    n_features = min(PADIM_FEATURES, model.n_features_original)
    model.n_features = n_features
    model.idx = torch.randperm(model.n_features_original)[:n_features]
    model.to(batches.device).train()
    total = min(len(batches), MOST_GAUSSIAN_IMAGES)
    for done, batch in enumerate(batches.once(MOST_GAUSSIAN_IMAGES), start=1):
        model(batch)
        progress(min(done * BATCH, total), total)
    model.fit()
    return model  # type: ignore[no-any-return]


def _cfa(
    batches: Batches, state: dict[str, Tensor] | None, training: DetectorTraining, progress: Progress
) -> nn.Module:
    kinds = _anomalib()
    with _built_from(kinds.cfa, state):
        model = kinds.cfa.CfaModel(
            backbone=training.backbone,
            gamma_c=1,
            gamma_d=1,
            num_nearest_neighbors=3,
            num_hard_negative_features=3,
            radius=1e-5,
        )
    model.to(batches.device)
    loss = kinds.cfa_loss(num_nearest_neighbors=3, num_hard_negative_features=3, radius=1e-5)
    model.initialize_centroid([SimpleNamespace(image=batch) for batch in batches.once()])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=5e-4, amsgrad=True)
    model.train()
    given = batches.endless()
    for step in range(training.steps):
        optimizer.zero_grad()
        of_step = loss(model(next(given)))
        check_loss(of_step.item(), of="CFA", step=step)
        of_step.backward(retain_graph=True)  # anomalib's radius is part of one graph for all steps
        optimizer.step()
        progress(step + 1, training.steps)
    return model  # type: ignore[no-any-return]


def _draem(batches: Batches, _: dict[str, Tensor] | None, training: DetectorTraining, progress: Progress) -> nn.Module:
    kinds = _anomalib()
    model = kinds.draem.DraemModel().to(batches.device).train()
    loss = kinds.draem_loss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [int(training.steps * part) for part in (0.8, 0.9)], gamma=0.2
    )  # where the paper lowers it, as parts of its 700 passes
    with textures_in(training.textures) as folder:
        augment = kinds.perlin(anomaly_source_path=folder, blend_factor=(0.1, 1.0))
        if not augment.anomaly_source_paths:
            raise ConfigError(f"--textures {training.textures} holds no picture; give a folder with PNG or JPEG files")
        given = batches.endless()
        for step in range(training.steps):
            picture = next(given)
            spoiled, mask = augment(picture)
            rebuilt, found = model(spoiled)
            optimizer.zero_grad()
            of_step = loss(picture, rebuilt, mask, found)
            check_loss(of_step.item(), of="DRAEM", step=step)
            of_step.backward()
            optimizer.step()
            schedule.step()
            progress(step + 1, training.steps)
    return model  # type: ignore[no-any-return]


_TRAINERS: Final[dict[str, Callable[[Batches, dict[str, Tensor] | None, DetectorTraining, Progress], nn.Module]]] = {
    "patchcore": _patchcore,
    "padim": _padim,
    "cfa": _cfa,
    "draem": _draem,
}


def _normalisation(backbone: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the pictures that a backbone was trained on; DRAEM takes them as they are."""
    if not backbone:
        return torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    import timm

    config: Any = timm.get_pretrained_cfg(timm_name(backbone))
    return torch.tensor(config.mean).reshape(1, 3, 1, 1), torch.tensor(config.std).reshape(1, 3, 1, 1)


class _Levels(nn.Module):
    """Feature levels of a network, in the place of anomalib's extractor.

    That one has timm's `features_only`, which gives parts of many networks other names than their weights have.
    """

    def __init__(self, network: Any, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        self.levels = levels
        self.names = [f"level {level}" for level in levels]
        self.out_dims = [network.feature_info[level]["num_chs"] for level in levels]

    def train(self, _: bool = True) -> Self:
        """Stay as it is: nothing of it is trained."""
        return super().train(False)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Levels by their names, each ``(n, channels, rows, columns)``, finest first."""
        found = self.network.forward_intermediates(
            pictures, indices=list(self.levels), intermediates_only=True, stop_early=True, output_fmt="NCHW"
        )
        return dict(zip(self.names, found, strict=True))


def _levels(training: DetectorTraining, state: dict[str, Tensor] | None) -> _Levels:
    """Levels that a method looks at, of the backbone with its weights."""
    spec = describe(training.backbone, weights=training.checkpoint, layers=None, image_size=training.side)
    return _Levels(build_extractor(spec, state or {}).model, _levels_of(training))


def _levels_of(training: DetectorTraining) -> tuple[int, ...]:
    """Numbers of the levels that a method looks at: of several with one stride the deepest."""
    found, wanted = level_strides(training.backbone, training.side), _STRIDES[training.method]
    if not set(wanted) <= set(found):
        asked, told = (", ".join(map(str, sorted(strides))) for strides in (wanted, set(found)))
        raise ConfigError(
            f"{training.method} looks at features of the strides {asked}; {training.backbone} has those of {told}; "
            "choose another --backbone"
        )
    return tuple(max(at for at, stride in enumerate(found) if stride == one) for one in wanted)


@contextmanager
def _looking_at(kind: Any, levels: _Levels) -> Iterator[None]:
    """Let a model of anomalib's look at given levels, where it would build an extractor of its own."""
    before, kind.TimmFeatureExtractor = kind.TimmFeatureExtractor, lambda **_: levels
    try:
        yield
    finally:
        kind.TimmFeatureExtractor = before


def _load(network: nn.Module, state: dict[str, Tensor] | None, backbone: str) -> None:
    """Put weights into a network of torchvision's; all of its own have to be there."""
    try:
        found = network.load_state_dict(state or {}, strict=False)
    except RuntimeError as error:
        raise ConfigError(
            f"the checkpoint does not fit {backbone}: {str(error).splitlines()[-1].strip()[:200]}; give one of it"
        ) from error
    lost = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    if lost:
        raise ConfigError(f"the checkpoint lacks {len(lost)} weights of {backbone}, such as {lost[0]}; give one of it")


@contextmanager
def _built_from(cfa: Any, state: dict[str, Tensor] | None) -> Iterator[None]:
    """Let anomalib's CFA build its backbone from given weights, where it would download them."""
    import torchvision
    from torchvision.models.feature_extraction import create_feature_extractor

    def built(backbone: str, return_nodes: list[str]) -> nn.Module:
        network = getattr(torchvision.models, backbone)(weights=None)
        _load(network, state, backbone)
        found: nn.Module = create_feature_extractor(network, return_nodes=return_nodes).eval()
        return found

    before, cfa.get_feature_extractor = cfa.get_feature_extractor, built
    try:
        yield
    finally:
        cfa.get_feature_extractor = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what anomalib and the exporter say about themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _anomalib() -> SimpleNamespace:
    """What is taken of anomalib, without its bars on the console."""
    with _quiet():
        from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
        from anomalib.models.components.sampling import k_center_greedy
        from anomalib.models.image.cfa import torch_model as cfa
        from anomalib.models.image.cfa.loss import CfaLoss
        from anomalib.models.image.draem import torch_model as draem
        from anomalib.models.image.draem.loss import DraemLoss
        from anomalib.models.image.padim import torch_model as padim
        from anomalib.models.image.patchcore import torch_model as patchcore
    with_bars: tuple[Any, ...] = (k_center_greedy, cfa)
    for module in with_bars:
        module.tqdm = _without_bar
    return SimpleNamespace(
        patchcore=patchcore,
        padim=padim,
        cfa=cfa,
        cfa_loss=CfaLoss,
        draem=draem,
        draem_loss=DraemLoss,
        perlin=PerlinAnomalyGenerator,
        k_center_greedy=k_center_greedy,
    )


def _without_bar(steps: Any, **_: object) -> Any:
    return steps
