"""What people decide: who decides what about which cluster or image, what builds on what, and how it is undone.

`of_clusters` decides about whole clusters, `of_images` about where images belong; each within one transaction.
`dismissals` are questions that they set aside.
`seen` compares what a person saw with what is there, `words` says decisions in plain words, `undoing` takes them back.
`asking` has the methods of the catalog that all of this is asked through.
"""
