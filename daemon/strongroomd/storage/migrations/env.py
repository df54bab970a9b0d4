"""How Alembic runs here: on the connection that it is given, inside that connection's transaction."""

from alembic import context

from strongroomd.storage.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, transactional_ddl=True
)
context.run_migrations()
