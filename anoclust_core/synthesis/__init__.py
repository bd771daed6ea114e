"""Pictures that are made: surfaces with drawn defects for the demo, and streams of nights whose truth is known.

`surfaces` cuts defect-free pictures and draws the demo's four defects, `defects` six more, `shapes` is what both are
made of. `streams` plans what a camera delivers night after night, with what should be told and when; `pictures` draws
the images of such a plan.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from anoclust_core.synthesis.shapes import REFERENCE_SIDE as REFERENCE_SIDE
    from anoclust_core.synthesis.surfaces import DEFECT_TYPES as DEFECT_TYPES
    from anoclust_core.synthesis.surfaces import MIN_SIDE as MIN_SIDE
    from anoclust_core.synthesis.surfaces import draw_defect as draw_defect
    from anoclust_core.synthesis.surfaces import draw_normal as draw_normal

# SciPy is loaded with the first name that is asked for
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "shapes": ["REFERENCE_SIDE"],
        "surfaces": ["DEFECT_TYPES", "MIN_SIDE", "draw_defect", "draw_normal"],
    },
)
