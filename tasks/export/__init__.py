"""Results for other programs: heat maps, and lasting clusters. No Prefect."""
