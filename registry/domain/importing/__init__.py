"""Import of packages from another index, from GitLab, or from a folder."""
