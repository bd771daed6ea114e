"""Networks that turn images into bags of patches: backbones, conversion, extraction; and what pictures are like."""
