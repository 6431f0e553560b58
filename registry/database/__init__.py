"""The database: session, base class of all models, column types, transactions, locks, and schema.

SQLite and PostgreSQL are supported; code outside this package does not depend on which one is in use.
"""

from __future__ import annotations

from registry.database.connection import (
    LONGEST_STATEMENT,
    POSTGRESQL_CONNECTION,
    POSTGRESQL_SESSION,
    disconnect,
    execute,
    init_app,
    is_sqlite,
    is_unanswered,
    log_slow_statements,
    slow,
)
from registry.database.generation import (
    ContentGeneration,
)
from registry.database.locks import (
    AdvisoryLock,
    OutOfOrder,
    hold,
    objects_kept,
    objects_removable,
    schema_locked,
)
from registry.database.schema import (
    MIGRATIONS,
    RESTORING,
    begin_restoring,
    check_schema,
    holds_records,
    is_restoring,
    knows,
    last_ids,
    newest_version,
    restored,
    schema_version,
    set_last_ids,
    snapshot,
    upgrade,
)
from registry.database.transactions import (
    Pending,
    PendingKind,
    at_end,
    lock,
    transaction,
)
from registry.database.types import (
    AUTOINCREMENT,
    LONGEST_SEARCH,
    Enumerated,
    Model,
    UTCDateTime,
    contains,
    db,
    utcnow,
)

__all__ = [
    "AUTOINCREMENT",
    "LONGEST_SEARCH",
    "LONGEST_STATEMENT",
    "MIGRATIONS",
    "POSTGRESQL_CONNECTION",
    "POSTGRESQL_SESSION",
    "RESTORING",
    "AdvisoryLock",
    "ContentGeneration",
    "Enumerated",
    "Model",
    "OutOfOrder",
    "Pending",
    "PendingKind",
    "UTCDateTime",
    "at_end",
    "begin_restoring",
    "check_schema",
    "contains",
    "db",
    "disconnect",
    "execute",
    "hold",
    "holds_records",
    "init_app",
    "is_restoring",
    "is_sqlite",
    "is_unanswered",
    "knows",
    "last_ids",
    "lock",
    "log_slow_statements",
    "newest_version",
    "objects_kept",
    "objects_removable",
    "restored",
    "schema_locked",
    "schema_version",
    "set_last_ids",
    "slow",
    "snapshot",
    "transaction",
    "upgrade",
    "utcnow",
]
