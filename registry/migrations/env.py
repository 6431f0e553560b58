"""How Alembic reaches the database: on the engine handed over by ``registry.database``, each migration whole or not."""

from alembic import context
from sqlalchemy import Connection, event, text

engine = context.config.attributes["engine"]


def begin_sqlite(connection: Connection) -> None:
    # The driver would begin a transaction only at the first row written, after tables were made.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


with engine.connect() as connection:
    connection.detach()  # what is set here must not stay on a connection that serves requests
    if engine.dialect.name == "postgresql":
        # A session left open elsewhere must not make an upgrade, and with it the start, wait for ever.
        connection.execute(text("SET lock_timeout = '10s'"))
        connection.execute(text("SET statement_timeout = '30min'"))
        connection.commit()
    else:
        # A batch operation replaces a table; the old one's removal must not cascade to the rows that refer to it.
        connection.execute(text("PRAGMA foreign_keys = OFF"))
        connection.commit()
        event.listen(connection, "begin", begin_sqlite)
    context.configure(
        connection=connection, render_as_batch=True, transaction_per_migration=True, transactional_ddl=True
    )
    with context.begin_transaction():
        context.run_migrations()
