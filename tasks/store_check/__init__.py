"""Verify a store and change nothing: `store` goes through all of it, the other modules check one kind of thing each."""
