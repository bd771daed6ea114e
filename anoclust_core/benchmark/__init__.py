"""The papers' experiments on arrays: methods, sweeps and error bars, and the published numbers to stand beside."""
