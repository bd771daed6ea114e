"""Run migrations on the connection that `tasks.stores.catalog.opening` hands over, inside of its transaction."""

from alembic import context

from tasks.stores.catalog.schema import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
context.run_migrations()
