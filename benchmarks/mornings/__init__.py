"""What a person is told in the morning, against the truth: streams of nights lived through, records, and their scores.

`living` lives through the nights of a stream with the product and keeps a record, `records` is what is kept of it,
`scoring` compares what was told with the truth, `explaining` says which truth explains what was told, and `tables`
prints.
"""
