"""What the REST door can be told; whoever starts it fills this in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FacadeSettings:
    """The door's settings. Times are seconds, sizes are bytes."""

    address: str  # `host:port`, `[::1]:port` for IPv6
    version: str  # shown in OpenAPI and by `/health` while the core is away
    title: str = "Distill"
    cors_origins: tuple[str, ...] = ()  # `*`, or origins such as `https://app.example`
    simulate: bool = False  # mock mode: hand `X-Distill-Simulate` to the core
    deadline: float = 30.0  # of a call to the core
    stream_deadline: float = 300.0  # of one that is answered with a stream
    heartbeat: float = 15.0  # of silence in a stream, until it says that it lives
    body_limit: int = 1 << 20
    body_timeout: float = 10.0  # until the whole body must have arrived
    send_timeout: float = 60.0  # for a client to take its whole answer, of a stream each event
    linger_timeout: float = 2.0  # after an early refusal, for the rest of a body to pass unread
    line_limit: int = 8190  # request line
    header_limit: int = 9 * 1024  # each header: the longest token that is read fits
    header_count: int = 100
    idle_timeout: float = 75.0  # of a connection between requests, its first headers included
    grace: float = 10.0  # for requests in flight when the door closes
    compress_from: int = 1024  # answers smaller than this are not worth gzip

    def host_and_port(self) -> tuple[str, int]:
        """The address in parts; ValueError where it is none."""
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535:
            raise ValueError(f"{self.address!r} is not host:port")
        return host.removeprefix("[").removesuffix("]"), int(port)
