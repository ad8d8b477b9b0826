"""A port of this machine that connects each client to the input and output of a command.

It works like `socat TCP-LISTEN:PORT,bind=127.0.0.1,fork EXEC:COMMAND`.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

from support import dap


class Relayed:
    """Starts a command for each connection. `port` is on 127.0.0.1.

    Leaving the context ends the commands; `errors` has their standard error.
    """

    def __init__(self, *command: str, folder: Path | None = None) -> None:
        self.command, self.folder = command, folder
        self.processes: list[subprocess.Popen[str]] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self) -> Relayed:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self.listener.accept()
                with connection:
                    self.processes.append(
                        subprocess.Popen(
                            self.command,
                            cwd=self.folder,
                            stdin=connection.fileno(),
                            stdout=connection.fileno(),
                            stderr=subprocess.PIPE,
                            text=True,
                        )
                    )
        except OSError:
            pass  # the socket is closed

    def exit_codes(self) -> list[int]:
        """Wait for the commands to end, and return their exit codes."""
        return [process.wait(timeout=dap.TIMEOUT) for process in self.processes]

    def errors(self) -> str:
        """Wait for the commands to end, and return their standard error."""
        return "".join(process.communicate(timeout=dap.TIMEOUT)[1] for process in self.processes)

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for process in self.processes:
            process.kill()
            process.wait()
            process.stderr.close()
