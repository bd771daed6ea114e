"""timm, without torch's compiler.

Two modules among the hundreds that ``import timm`` loads ask something of the compiler: a layer of ``torchvision.ops``,
whether it may compile, and a model, not to be compiled. With them comes the compiler itself, a sixth of all that a run
imports; and nothing here compiles. So the question is put when it is answered, and the model is left as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import torch

COMPILER: Final = "torch._dynamo.utils"
"""What the layer imports, and all of the compiler with it."""

QUESTION: Final = "is_compile_supported"
"""What it wants of that."""


class _AskedLater(ModuleType):
    """Stands for `COMPILER` while timm is imported; any other name but `QUESTION` is taken from the real one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == QUESTION:
            return _ask
        sys.modules.pop(COMPILER, None)
        return getattr(import_module(COMPILER), name)


def _ask(*arguments: Any) -> Any:
    return getattr(import_module(COMPILER), QUESTION)(*arguments)


def _unchanged(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    """In place of ``torch.compiler.disable``, as a decorator with and without arguments."""
    return _unchanged if function is None else function


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Keep the compiler from being imported, if it is not there yet."""
    if COMPILER in sys.modules:
        yield
        return
    stand_in = sys.modules[COMPILER] = _AskedLater(COMPILER)
    disable = torch.compiler.disable
    torch.compiler.disable = _unchanged  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compiler.disable = disable
        if sys.modules.get(COMPILER) is stand_in:
            del sys.modules[COMPILER]


with _without_compiler():
    import timm

__all__ = ["timm"]
