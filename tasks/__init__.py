"""Everything outside of memory: one Prefect task per stage, and the stores, data sets and engines that they use."""
