"""The upstream index: its pages and files as a namespace may use them. Import the modules by name."""
