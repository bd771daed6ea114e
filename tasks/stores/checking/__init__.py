"""Verify a store, and change nothing: `store` goes through all of it, the other modules each check one kind of thing."""
