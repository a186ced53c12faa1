"""A TCP proxy that refuses, holds or breaks connections, or answers with errors."""

import socket
import threading
from contextlib import suppress
from pathlib import Path

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
FULL = (
    b"HTTP/1.1 507 Insufficient Storage\r\ncontent-type: application/xml\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)
PIECE = 65536


class Proxy:
    """`mode` is ok, cut (connections break), hole (nothing passes), 503, full (writing answers 507)
    or a number of bytes after which each upload breaks.
    """

    def __init__(self, port: int, target: int | Path, host: str = "127.0.0.1") -> None:
        """Listens at `host`; the target is a port of loopback or a socket's path."""
        self.port, self.target, self.host = port, target, host
        self.mode: str | int = "ok"
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()

    def start(self) -> None:
        self._listener = socket.create_server((self.host, self.port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self.set("cut")

    def set(self, mode: str | int) -> None:
        """Changes the mode; `cut` and `503` break what is open."""
        self.mode = mode
        if mode in ("cut", "503", "full"):
            for connection in list(self._open):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _connected(self) -> socket.socket:
        if isinstance(self.target, int):
            return socket.create_connection(("127.0.0.1", self.target), 10)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.target))
        return connection

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.mode == "cut":
                return
            if self.mode == "503":
                client.recv(PIECE)
                client.sendall(UNAVAILABLE)
                return
            with self._connected() as server:
                self._open |= {client, server}
                back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
                back.start()
                self._pump(client, server, upload=True)
                back.join()
                self._open -= {client, server}

    def _pump(self, source: socket.socket, to: socket.socket, *, upload: bool = False) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(PIECE):
                while self.mode == "hole":
                    threading.Event().wait(0.1)
                if upload and self.mode == "full" and data.startswith((b"PUT", b"POST")):
                    source.sendall(FULL)
                    break
                passed += len(data)
                if upload and isinstance(self.mode, int) and passed > self.mode:
                    break
                to.sendall(data)
        for end in (source, to):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
