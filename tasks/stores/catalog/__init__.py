"""The catalog: facts about images, nights, clusters and decisions, in SQLite or PostgreSQL.

The only place that imports SQLAlchemy. `catalog` has the class `Catalog` with everything that is asked of it, `facts`
what goes in and comes out; `images`, `nights`, `clusters`, `decisions` and `notices` work inside one transaction each;
`schema` has the tables, `migrations` how they came about, `opening` connections, `capture` when an image was taken.
"""
