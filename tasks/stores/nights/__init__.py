"""What nights keep in a store: arrivals, what they are compared with, when to re-cluster, snapshots."""
