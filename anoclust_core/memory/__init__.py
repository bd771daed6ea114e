"""Memory planned in bytes before a stage runs: what it will need at its peak, and a refusal where that is too much.

A prediction counts what a stage adds to the process on top of the imported libraries. It is a bound: the tests hold
every stage's measured peak to it over several sizes.
"""
