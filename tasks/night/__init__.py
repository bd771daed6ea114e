"""The stages of a night, a Prefect task each: place new images, adopt a re-clustering, watch, report, tell."""
