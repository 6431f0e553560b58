"""Import of packages from another index or a folder."""
