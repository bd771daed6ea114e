"""Distances from every patch to its nearest patch in other images, on a CPU or a GPU, and which pairs are missing."""
