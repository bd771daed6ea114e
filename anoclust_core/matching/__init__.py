"""Identities that last: where a new image belongs, what is born, and what a re-clustering made of the old clusters.

`prototypes` is what a snapshot is remembered by, `assigning` gives new images to it, `births` finds new clusters among
those that belong nowhere, `identities` names clusters and follows merges, `partitions` matches two clusterings, and
`drift` tells growth and shifts from chance.
"""
