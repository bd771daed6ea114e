"""What a network computes in; apart from everything else, so that settings can be read without NumPy."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "bf16"]
"""What a network computes in; its features are float32 either way."""
