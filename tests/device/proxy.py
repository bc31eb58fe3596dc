"""A way to a server that breaks at a chosen moment."""

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def cutting_proxy(
    port: int | None, after_bytes: int | None = None, when: Callable[[], bool] = lambda: False
) -> Iterator[int]:
    """The port of a proxy that cuts its one connection after so many bytes of the client, or when told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, port, after_bytes, when))
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            thread.join(30)
            assert not thread.is_alive()


def _serve(listener: socket.socket, port: int, after_bytes: int | None, when: Callable[[], bool]) -> None:
    client, _ = listener.accept()
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        passed = 0
        while not when() and (after_bytes is None or passed < after_bytes):
            for source in select.select([client, server], [], [], 0.05)[0]:
                piece = source.recv(1 << 14)
                if not piece:
                    return
                (server if source is client else client).sendall(piece)
                passed += len(piece) if source is client else 0
