"""Machine code that compares image pairs, compiled once per process: `integers` and `single_precision`, in `tiles`."""
