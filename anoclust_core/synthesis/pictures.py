"""Draw the images of a planned stream."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from anoclust_core.errors import ConfigError
from anoclust_core.seeding import generator
from anoclust_core.synthesis import shapes
from anoclust_core.synthesis.defects import draw_kind
from anoclust_core.synthesis.stream_records import Stream, StreamImage, Taken
from anoclust_core.synthesis.surfaces import draw_normal

SIDE: Final = 112
"""Side of a picture in pixels."""

_OTHER_DESIGN: Final = 0.5
"""Weight of the other photograph in the later design."""

_GRAIN: Final[Mapping[str, float]] = MappingProxyType({"brick": 13.0, "grass": 9.5, "gravel": 10.5})
"""Standard deviation of a surface in grey levels: less than the photograph's, where that is coarse."""

_COLOUR: Final = 0.4
"""Share of the colour that a camera keeps: with all of it, red and blue yarn are two kinds and not one."""

_BRIGHTNESS: Final = 125.0
"""Mean of a surface in grey levels, before a camera changes it."""


def draw_image(
    stream: Stream, image: StreamImage, photographs: Mapping[str, NDArray[np.uint8]], *, side: int = SIDE
) -> NDArray[np.uint8]:
    """Draw one image of a stream; what is drawn depends on the stream's seed and the image alone.

    Parameters
    ----------
    stream, image
        What to draw.
    photographs
        Grey photographs by name, each of shape ``(height, width)``, uint8, at least ``side`` pixels on its shorter
        side. Those that the stream names have to be there.
    side
        Side of the picture in pixels, at least `surfaces.MIN_SIDE`. Another camera delivers fewer.

    Returns
    -------
    picture
        Shape ``(side, side, 3)``, uint8, red, green and blue.

    Raises
    ------
    ConfigError
        If a photograph is missing, or ``side`` is out of range.
    ArrayContractError
        If a photograph is not a grey uint8 image.
    """
    missing = {stream.surface, stream.other_surface} - photographs.keys()
    if missing:
        raise ConfigError(f"expected the photograph {min(missing)}, found {', '.join(sorted(photographs))}; add it")
    rng = generator(stream.seed, f"scene {image.scene}")
    surface = _surface(photographs[stream.surface], rng, side, name=stream.surface)
    if image.is_other_design:
        other = _surface(photographs[stream.other_surface], rng, side, name=stream.other_surface)
        surface = shapes.to_uint8((1 - _OTHER_DESIGN) * surface + _OTHER_DESIGN * other.astype(np.float64))
    if image.is_good:
        scene = np.repeat(surface[..., None], 3, axis=2)
    else:
        lowest = stream.strengths[image.label]
        drawn = draw_kind(surface, rng, kind=image.label, strength=rng.uniform(lowest, 1.0)).astype(np.float64)
        grey = drawn.mean(axis=2, keepdims=True)
        scene = shapes.to_uint8(grey + _COLOUR * (drawn - grey))
    return _taken(scene, image.taken, generator(stream.seed, f"shot {image.shot}"))


def _surface(photograph: NDArray[np.uint8], rng: np.random.Generator, side: int, *, name: str) -> NDArray[np.uint8]:
    crop = draw_normal(photograph, rng, size=side, quarter_turns=name != "brick")
    grain = min(1.0, _GRAIN[name] / float(photograph.std()))
    # the exposure that `draw_normal` left to chance stays
    return shapes.to_uint8(_BRIGHTNESS + grain * (crop - float(photograph.mean())))


def _taken(scene: NDArray[np.uint8], taken: Taken, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A scene as a camera gives it."""
    light = np.clip(scene / 255.0 * taken.gain, 0, 1) ** taken.gamma
    light = gaussian_filter(light, (taken.blur, taken.blur, 0))
    if taken.scale != 1:
        light = zoom(light, (taken.scale, taken.scale, 1), order=1)
    return shapes.to_uint8(255 * light + rng.normal(0, taken.noise, size=light.shape))
