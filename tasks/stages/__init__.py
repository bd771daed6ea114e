"""The stages of a run, a Prefect task each, and what they share under Prefect."""
