"""External services: how long to wait for one, a Prefect server that goes away, proxies in between."""
