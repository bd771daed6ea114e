"""How the catalog's tables came about, for Alembic."""
