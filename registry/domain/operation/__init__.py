"""What an administrator runs: backup, restore, cleanup, verification, moving to another store."""
