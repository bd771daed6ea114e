"""The Prefect server that a command starts for itself, closed to everybody else."""
