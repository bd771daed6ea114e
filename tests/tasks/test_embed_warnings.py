"""What the stage of embedding tells in the log of a run."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tasks.stages.embed as stage
from anoclust_core.config import RunConfig


def test_a_network_that_openvino_cannot_run_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning names the network and the reason; the images are embedded nevertheless."""
    network = SimpleNamespace(not_converted="it cannot be converted", extractor=None)
    asked: list[object] = []
    monkeypatch.setattr(stage, "get_run_logger", lambda: logging.getLogger("run"))
    monkeypatch.setattr(stage, "Progress", lambda *_: None)
    monkeypatch.setattr(stage, "choose_network", lambda *_, **__: network)
    monkeypatch.setattr(stage, "choose_limits", lambda *_, **__: None)
    monkeypatch.setattr(stage, "embed_batches", lambda new, *_: asked.extend(new) or iter(()))
    spec = SimpleNamespace(backbone="tiny", precision="float32", n_patches=4, dim=2)
    run: Any = SimpleNamespace(category="tile", spec=spec, config=RunConfig(), memory_budget=1 << 30)
    image: Any = object()
    levels: Any = SimpleNamespace()
    assert stage._embed_new([(image,)], levels, run, Path("network.onnx")) == {}
    assert asked == [(image,)]
    assert "tiny runs in torch and not in OpenVINO: it cannot be converted" in caplog.text
