"""Where the heavy work runs: Dask's threads or a scheduler, and a worker's CPU or GPU."""
