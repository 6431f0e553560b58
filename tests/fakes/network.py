"""A connection to a server, with the faults of a network between the registry and its store."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

PIECE_BYTES = 1 << 16


class FaultyLine:
    """Passes on connections to a port of this machine.

    :ivar is_cut: connections are reset, those that there are and new ones.
    :ivar is_silent: connections are accepted, but nothing comes back; those that waited are closed when it ends.
    :ivar delay_seconds: by which every piece of an answer comes late.
    :ivar cut_after_bytes: the next answer with more bytes than this breaks off there; with ``cuts_for_good`` all end.
    :ivar heads: the first bytes of each connection from the client.
    :ivar received_pieces: how many pieces clients have sent, those sent into silence included.
    :ivar garbled: these bytes become those, in whatever is sent or answered.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heads: list[bytes] = []
        self.received_pieces = 0
        self.heal()
        threading.Thread(target=self._accept, daemon=True).start()

    def heal(self) -> None:
        self.is_cut = self.is_silent = False
        self.delay_seconds = 0.0
        self.cut_after_bytes: int | None = None
        self.cuts_for_good = False
        self.garbled: tuple[bytes, bytes] | None = None

    def close(self) -> None:
        self.is_cut = True
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            if self.is_cut:
                _reset(client)
                client.close()
                continue
            server = socket.create_connection(self._target)
            threading.Thread(target=self._connect, args=(client, server), daemon=True).start()

    def _connect(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            back = threading.Thread(target=self._pump, args=(server, client, True), daemon=True)
            back.start()
            self._pump(client, server, False)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        passed = 0
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                self.received_pieces += not is_answer
                if self._is_broken():
                    _reset(source)
                    _reset(sink)
                    return
                if is_answer:
                    time.sleep(self.delay_seconds)
                    if self.cut_after_bytes is not None and passed + len(piece) > self.cut_after_bytes:
                        sink.sendall(piece[: self.cut_after_bytes - passed])
                        self.cut_after_bytes, self.is_cut = None, self.cuts_for_good
                        source.shutdown(socket.SHUT_RDWR)
                        break
                elif not passed:
                    self.heads.append(piece)
                sink.sendall(piece if self.garbled is None else piece.replace(*self.garbled))
                passed += len(piece)
            sink.shutdown(socket.SHUT_RDWR if is_answer else socket.SHUT_WR)

    def _is_broken(self) -> bool:
        """Whether the connection ends here; returns only after a silence."""
        was_silent = self.is_silent
        while self.is_silent and not self.is_cut:
            time.sleep(0.02)
        return was_silent or self.is_cut


def _reset(connection: socket.socket) -> None:
    """Reset the connection for both ends."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
