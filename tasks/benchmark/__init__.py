"""The benchmark's experiments, a Prefect task each, and the page that shows them."""
