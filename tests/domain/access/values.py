"""Values that several tables of the tests are made of."""

from __future__ import annotations

from registry.models import Visibility

READ = ("read_package_registry",)
WRITE = ("write_package_registry",)
NO_PACKAGE_SCOPE = ("read_registry", "write_registry", "read_repository")
VISIBILITIES = (Visibility.PUBLIC, Visibility.INTERNAL, Visibility.PRIVATE)
