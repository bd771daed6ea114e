"""A look at images before their first run: what the pictures are like, and what a run would take."""
