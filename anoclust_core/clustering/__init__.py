"""Clustering of images, from descriptors or from distances between images.

`methods` has every method by name; `linkage` the trees and their cuts, `partition` k-means, Gaussian mixture and
spectral clustering, `medoids` k-medoids, `order` how rows are ordered first, `labels` what is done to labels
afterwards, `checks` what all ask of their input. All labels are int64 numbers
0, 1, ... by decreasing size of the cluster, ties by its first image.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from anoclust_core.clustering.estimator import AnomalyClusterer as AnomalyClusterer
    from anoclust_core.clustering.linkage import cut_tree as cut_tree
    from anoclust_core.clustering.linkage import linkage_tree as linkage_tree

# what the modules need, a compiler for example, is loaded with the first name that is asked for
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"estimator": ["AnomalyClusterer"], "linkage": ["cut_tree", "linkage_tree"]}
)
