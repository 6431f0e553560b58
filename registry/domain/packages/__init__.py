"""Packages: published, listed, served, protected, yanked, deleted, counted."""
