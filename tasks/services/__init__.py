"""Services on other ends: how long one is waited for, a Prefect server that goes away, proxies in between."""
