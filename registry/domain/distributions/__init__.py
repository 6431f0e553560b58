"""Wheels and sdists as files: names, safe reading, metadata, inspection, descriptions."""
