"""Shared by all tests. Its presence puts this folder on the import path, so that tests can share example records."""
