"""Alembic environment: runs each migration in its own transaction, on the engine from ``registry.database``."""

from alembic import context
from sqlalchemy import Connection, event, text

engine = context.config.attributes["engine"]


def begin_sqlite(connection: Connection) -> None:
    # The driver would begin a transaction only when the first row is written, after tables were created.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


with engine.connect() as connection:
    connection.detach()  # these settings must not remain on a pooled connection that serves requests
    if engine.dialect.name == "postgresql":
        # A session left open elsewhere must not block the upgrade, and thus the start, forever.
        connection.execute(text("SET lock_timeout = '10s'"))
        connection.execute(text("SET statement_timeout = '30min'"))
        connection.commit()
    else:
        # A batch operation replaces a table; dropping the old one must not cascade to the rows that refer to it.
        connection.execute(text("PRAGMA foreign_keys = OFF"))
        connection.commit()
        event.listen(connection, "begin", begin_sqlite)
    context.configure(
        connection=connection, render_as_batch=True, transaction_per_migration=True, transactional_ddl=True
    )
    with context.begin_transaction():
        context.run_migrations()
