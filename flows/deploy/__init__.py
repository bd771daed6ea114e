"""Nights on a Prefect server: deployments, the files that declare limits and automations, services, dead runs."""
