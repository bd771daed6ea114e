"""Looking after a store: what is in it, what can go, what a kill left, past runs."""
