"""Images on disk: which there are, whether they can be used, their pixels and their anomaly maps. No Prefect."""
