"""Nights: what is new in every category, the flow of one night, past nights, where every category stands."""
