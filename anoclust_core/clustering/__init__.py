"""Clustering of images, from descriptors or from distances between images.

`methods` has every method by name; `linkage` the trees and their cuts, `partition` k-means, Gaussian mixture and
spectral clustering, `medoids` k-medoids, `order` how rows are ordered first, `labels` what is done to labels
afterwards, `checks` what all ask of their input. All labels are int64 numbers
0, 1, ... by decreasing size of the cluster, ties by its first image.
"""
