"""The rules about the public index: one wrapper per rule around an ``Upstream``. Import the modules by name."""
