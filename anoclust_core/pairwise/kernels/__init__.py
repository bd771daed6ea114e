"""Machine code that compares image pairs, compiled once a process: `integers` and `single_precision`, in `tiles`."""
