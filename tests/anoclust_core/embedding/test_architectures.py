"""timm without torch's compiler: nothing of it is lost."""

from __future__ import annotations

import subprocess
import sys

IMPORTED = """
import sys
import torch
disable = torch.compiler.disable
from anoclust_core.embedding.architectures import COMPILER, timm
assert torch.compiler.disable is disable
assert not {"torch._dynamo", COMPILER} & set(sys.modules), "the compiler was imported"
assert timm.is_model("tf_efficientnet_lite2")
from torchvision.ops import roi_align
assert isinstance(roi_align.__globals__["is_compile_supported"]("cpu"), bool)
assert "torch._dynamo" in sys.modules
from torch._dynamo.utils import is_compile_supported, counters
"""


def test_the_compiler_comes_when_it_is_asked() -> None:
    """Importing timm leaves it out and puts everything back; the layer that has a question for it gets its answer."""
    subprocess.run([sys.executable, "-c", IMPORTED], check=True, timeout=300)
