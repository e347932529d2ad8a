"""A RabbitMQ of the test run's own, on loopback, with a port mapper of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers.optional import program
from tests.servers.ports import held_ports

STARTS_WITHIN = 90.0  # seconds, on a busy machine


class RabbitMQ:
    """A running broker."""

    def __init__(self, server: str, folder: Path, ports: Sequence[int]) -> None:
        self._server = server
        self._folder = folder
        self.port, self._distribution, self._epmd = ports
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd_process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        environment = self._environment()
        if self._epmd_process is None:
            self._epmd_process = subprocess.Popen(
                [_epmd(), "-port", str(self._epmd), "-address", "127.0.0.1"], env=environment
            )
        with (self._folder / "output").open("ab") as out:
            self._process = subprocess.Popen(
                [self._server], env=environment, stdout=out, stderr=out, start_new_session=True
            )
        until = time.monotonic() + STARTS_WITHIN
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > until:
                said = (self._folder / "output").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"RabbitMQ did not start: {said}")
            time.sleep(0.2)

    def kill(self) -> None:
        """Kills it, as a machine that loses power does."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            while _listens(self.port):  # the script is gone before its child is
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends it for good."""
        self.kill()
        if self._epmd_process is not None:
            self._epmd_process.kill()
            self._epmd_process.wait()

    def _environment(self) -> Mapping[str, str]:
        config = self._folder / "rabbitmq.conf"
        config.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "log.console = true\nlog.file = false\nlog.console.level = warning\n"
            "disk_free_limit.absolute = 10MB\nraft.wal_max_size_bytes = 16777216\n"
        )
        (self._folder / "plugins").write_text("[].\n")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
        return {
            **kept,
            "HOME": str(self._folder),  # where the nodes' cookie lies
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"distill{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none"
            ),
        }


@contextmanager
def rabbitmq(folder: Path) -> Iterator[RabbitMQ]:
    """A broker; skips where none is installed."""
    program("rabbitmq-server", of="rabbitmq")
    # The script behind Debian's wrapper, which only root may start.
    found = "/usr/lib/rabbitmq/bin/rabbitmq-server"
    server = found if Path(found).exists() else program("rabbitmq-server", of="rabbitmq")
    with held_ports(3) as ports:
        broker = RabbitMQ(server, folder, ports)
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()


def _epmd() -> str:
    found = shutil.which("epmd")
    if found is None:
        raise RuntimeError("epmd, which belongs to Erlang, is not installed")
    return found


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
