"""A look at a data set before its first run."""
