"""Ready-made data sets: the generated demo and manifests for public benchmarks. No Prefect here."""
