from __future__ import annotations


class Received:
    """A sink that keeps the chunks it receives."""

    def __init__(self) -> None:
        self.content = b""

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)
