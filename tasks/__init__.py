"""Touch the world: one Prefect task a stage, and the stores, data sets and engines that they use."""
