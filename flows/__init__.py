"""Decide what runs: the command line, settings and Prefect flows."""
