"""Figures and the HTML page of a run, made from a report record."""
