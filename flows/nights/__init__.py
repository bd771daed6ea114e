"""Nights: what is new in every category, the flow of one night, past nights, the state of every category."""
