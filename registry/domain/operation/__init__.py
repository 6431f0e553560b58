"""Operations of an administrator: backup, restore, cleanup, verification, and moving to another store."""
