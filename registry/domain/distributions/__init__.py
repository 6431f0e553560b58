"""Wheels and sdists as files: their names, safe reading, metadata, inspection, and descriptions."""
