"""Blind localisation of anomalies and the descriptors made from it, [ARDELEAN24].

[ARDELEAN24] is Ardelean & Weyrich, *Blind Localization and Clustering of Anomalies in Textures*, CVPR Workshops 2024.
In the order of the method: `vae` learns what is common to all images and leaves residuals, `fca` and, on a GPU,
`fca_torch` turn residuals or plain features into anomaly maps, `maps` smooths these and pools descriptors, `thresholds`
says from where on a cell is anomalous, `contrastive` trains the head that pulls the kinds of anomaly apart. `variants`
has the numbers in which the paper's text and its published program differ.

All are functions of arrays. Feature maps are read one or a few images at a time from anything that can be indexed like
an array, as a memory-mapped file can.
"""
