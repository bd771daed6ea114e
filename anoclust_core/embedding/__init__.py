"""Networks that turn images into bags of patch embeddings: backbones, their conversion for OpenVINO, extraction."""
