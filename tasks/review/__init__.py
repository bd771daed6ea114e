"""What the review page shows of a store, read a part at a time: plain functions, no server."""
