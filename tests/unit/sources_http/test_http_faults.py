"""Servers that are slow, broken, hostile or away: each fails cleanly, soon, and alone."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
import ssl
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from raw_server import PUBLIC, Exchange, Names

from distill_grpc.sources import bodies
from distill_grpc.sources.base import PlatformError
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.http_failures import MESSAGES

MEGABYTE = 1024 * 1024


async def failing(client: HttpClient, url: str, **options: object) -> str:
    with pytest.raises(PlatformError) as raised:
        await client.get(url, **options)  # type: ignore[arg-type]  # a test's options
    assert raised.value.message == MESSAGES[raised.value.reason]
    assert not raised.value.permanent
    return raised.value.reason


def endless_gzip() -> Iterator[bytes]:
    """Gzip of zeros without an end: a thousand times larger than what is sent."""
    compressor = zlib.compressobj(9, wbits=31)
    zeros = bytes(MEGABYTE)
    while True:
        yield compressor.compress(zeros) + compressor.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_of_ten_megabytes_stops_at_the_limit(serve, client: HttpClient, encoding: str):
    encode = gzip.compress if encoding == "gzip" else zlib.compress

    async def script(exchange: Exchange) -> None:
        bomb = encode(bytes(10 * MEGABYTE))
        await exchange.answer(bomb, headers=[f"Content-Encoding: {encoding}"])

    server = await serve(script)
    assert await failing(client, server.url(), max_bytes=10_000) == "too_large"


async def test_an_endless_bomb_costs_little_memory_and_time(serve, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        await exchange.send("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
        for piece in endless_gzip():
            await exchange.send(piece)

    server = await serve(script)
    await failing(client, server.url(), max_bytes=MEGABYTE)  # imports and buffers are now paid for
    process = psutil.Process()
    before, started = process.memory_info().rss, time.monotonic()
    kept = []  # as a failed part of an account is, with its traceback
    for _ in range(4):
        with pytest.raises(PlatformError) as raised:
            await client.get(server.url())
        kept.append(raised.value)
    assert {failure.reason for failure in kept} == {"too_large"}
    assert process.memory_info().rss - before < 40 * MEGABYTE
    assert time.monotonic() - started < 6
    await server.quiet()


@pytest.mark.parametrize("value", ["gzip, gzip", "gzip,gzip,gzip,gzip,gzip", "br, gzip", "snappy"])
async def test_nested_and_unknown_encodings_are_refused(serve, client: HttpClient, value: str):
    async def script(exchange: Exchange) -> None:
        body = b"x"
        for _ in value.split(","):
            body = gzip.compress(body)
        await exchange.answer(body, headers=[f"Content-Encoding: {value}"])

    server = await serve(script)
    assert await failing(client, server.url()) == "bad_encoding"


async def test_damaged_and_truncated_gzip_is_refused(serve, client: HttpClient):
    whole = gzip.compress(b"content that is long enough to be cut " * 20)
    damaged = [whole[:-1], whole[:20], whole[:-8] + b"\0" * 8, b"<html>not gzip", b"\x1f"]

    async def script(exchange: Exchange) -> None:
        body = damaged[int(exchange.path.removeprefix("/"))]
        await exchange.answer(body, headers=["Content-Encoding: gzip"])

    server = await serve(script)
    for number in range(len(damaged)):
        assert await failing(client, server.url(f"/{number}")) == "bad_encoding"


@pytest.mark.parametrize("framing", ["length", "chunked", "until-close"])
async def test_a_body_over_the_limit_is_cut_off_early(serve, client: HttpClient, framing: str):
    sent = 0

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        head = {
            "length": f"Content-Length: {1000 * MEGABYTE}\r\n",
            "chunked": "Transfer-Encoding: chunked\r\n",
            "until-close": "",
        }[framing]
        await exchange.send(f"HTTP/1.1 200 OK\r\n{head}\r\n")
        piece = b"x" * MEGABYTE
        for _ in range(1000):
            await exchange.send(b"100000\r\n%b\r\n" % piece if framing == "chunked" else piece)
            sent += len(piece)

    server = await serve(script)
    assert await failing(client, server.url(), max_bytes=MEGABYTE) == "too_large"
    await server.quiet()
    assert sent < 20 * MEGABYTE  # what fits into the sockets' buffers


async def test_bytes_that_decode_to_nothing_count_too(serve, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        await exchange.send("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
        await exchange.send(gzip.compress(b"x"))
        while True:
            await exchange.send(bytes(64 * 1024))

    server = await serve(script)
    assert await failing(client, server.url(), max_bytes=MEGABYTE) == "too_large"


async def test_a_body_of_exactly_the_limit_is_taken(serve, client: HttpClient):
    noise = random.Random(1).randbytes(MEGABYTE)  # compressed, it grows

    async def script(exchange: Exchange) -> None:
        if exchange.path == "/gzip":
            await exchange.answer(gzip.compress(noise), headers=["Content-Encoding: gzip"])
        else:
            await exchange.answer(noise)

    server = await serve(script)
    for path in ("/gzip", "/plain"):
        assert (await client.get(server.url(path), max_bytes=MEGABYTE)).body == noise
        assert await failing(client, server.url(path), max_bytes=MEGABYTE - 1) == "too_large"


async def test_a_failing_platforms_words_survive_its_broken_error_page(serve, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        head = "HTTP/1.1 429 Slow Down\r\nRetry-After: 60\r\n"
        match exchange.path:
            case "/large":
                await exchange.send(head + "Content-Length: 99000000\r\n\r\n" + "x" * MEGABYTE)
            case "/truncated":
                await exchange.send(head + "Content-Length: 99\r\n\r\nx")
            case "/encoded":
                await exchange.send(
                    head + "Content-Encoding: br, zstd\r\nContent-Length: 1\r\n\r\nx"
                )
            case "/bomb":
                await exchange.send(head + "Content-Encoding: gzip\r\n\r\n")
                for piece in endless_gzip():
                    await exchange.send(piece)
        exchange.writer.close()

    server = await serve(script)
    sizes = {}
    for path in ("/large", "/truncated", "/encoded", "/bomb"):
        response = await client.get(server.url(path))
        assert response.status == 429
        assert response.retry_at is not None
        sizes[path] = len(response.body)
    most = bodies.ERROR_BYTES
    assert sizes == {"/large": most, "/truncated": 1, "/encoded": 0, "/bomb": most}


async def test_a_trickling_body_is_cut_off(
    serve, client: HttpClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bodies, "WINDOW", 0.2)

    async def script(exchange: Exchange) -> None:
        await exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await exchange.send("x")
            await asyncio.sleep(0.01)

    server = await serve(script)
    started = time.monotonic()
    assert await failing(client, server.url()) == "too_slow"
    assert time.monotonic() - started < 2
    await server.quiet()


async def test_a_body_that_stalls_after_a_burst_is_cut_off(
    serve, client: HttpClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bodies, "WINDOW", 0.2)

    async def script(exchange: Exchange) -> None:
        await exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + "x" * 500_000)
        await exchange.hang()

    server = await serve(script)
    assert await failing(client, server.url()) == "too_slow"


async def test_a_slow_body_that_is_fast_enough_arrives(
    serve, client: HttpClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bodies, "WINDOW", 0.2)

    async def script(exchange: Exchange) -> None:
        await exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n")
        for _ in range(10):
            await exchange.send("x" * 300)
            await asyncio.sleep(0.05)

    server = await serve(script)
    assert len((await client.get(server.url())).body) == 3000


@pytest.mark.parametrize("stage", ["silence", "status", "headers", "interim", "body", "redirects"])
async def test_the_whole_exchange_has_one_deadline(serve, clients, stage: str):
    async def script(exchange: Exchange) -> None:
        pieces = {
            "silence": [],
            "status": ["HTTP/1.1 2"],
            "headers": ["HTTP/1.1 200 OK\r\n", *["X-More: 1\r\n"] * 40],
            "interim": ["HTTP/1.1 100 Continue\r\n\r\n"] * 100,
            "body": ["HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", *["x" * 5000] * 100],
            "redirects": ["HTTP/1.1 302 Found\r\nLocation: /next\r\n", "Content-Length: 0\r\n\r\n"],
        }[stage]
        for piece in pieces:
            await exchange.send(piece)
            await asyncio.sleep(0.04)
        if stage != "redirects":
            await exchange.hang()

    server = await serve(script)
    started = time.monotonic()
    assert await failing(clients(timeout=0.4), server.url(), max_redirects=100) == "timeout"
    assert 0.3 < time.monotonic() - started < 2
    await server.quiet()


GARBAGE = {
    "nothing": "",
    "html": "<html>hello</html>",
    "other-protocol": "220 mail.test ESMTP\r\n",
    "no-status": "HTTP/1.1 \r\n\r\n",
    "bad-status": "HTTP/1.1 abc OK\r\n\r\n",
    "huge-status": "HTTP/1.1 99999 OK\r\n\r\n",
    "bad-header": "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
    "header-injection": "HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
    "bad-length": "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nx",
    "negative-length": "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
    "two-lengths": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "short": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
    "empty-but-promised": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "chunk-cut": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort",
    "chunks-unfinished": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
    "bad-chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx\r\n0\r\n\r\n",
    "long-line": "HTTP/1.1 200 " + "x" * 20_000 + "\r\n\r\n",
    "long-header": "HTTP/1.1 200 OK\r\nX-Long: " + "x" * 20_000 + "\r\nContent-Length: 0\r\n\r\n",
    "many-headers": "HTTP/1.1 200 OK\r\n" + "X: 1\r\n" * 1000 + "Content-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_what_is_not_proper_http_is_a_protocol_failure(serve, client: HttpClient, name: str):
    async def script(exchange: Exchange) -> None:
        await exchange.send(GARBAGE[name])
        exchange.writer.close()

    server = await serve(script)
    assert await failing(client, server.url()) == "protocol"
    await server.quiet()


async def test_headers_without_an_end_are_cut_off(serve, client: HttpClient):
    sent = 0

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send("HTTP/1.1 200 OK\r\nX: ")
        while True:
            await exchange.send(b"x" * MEGABYTE)
            sent += MEGABYTE

    server = await serve(script)
    assert await failing(client, server.url()) == "protocol"
    await server.quiet()
    assert sent < 20 * MEGABYTE


async def test_an_answer_cut_anywhere_is_never_taken_for_whole(serve, client: HttpClient):
    whole = (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        % len(gzip.compress(b"hello", mtime=0))
    ) + gzip.compress(b"hello", mtime=0)

    async def script(exchange: Exchange) -> None:
        await exchange.send(whole[: int(exchange.path.removeprefix("/"))])
        exchange.writer.close()

    server = await serve(script)
    for cut in range(len(whole)):
        assert await failing(client, server.url(f"/{cut}")) == "protocol", cut
    assert (await client.get(server.url(f"/{len(whole)}"))).body == b"hello"


async def test_random_bytes_never_crash_the_client(serve, client: HttpClient):
    dice = random.Random(42)
    valid = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 5\r\n\r\nhello"

    async def script(exchange: Exchange) -> None:
        data = bytearray(valid)
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        await exchange.send(bytes(data))
        exchange.writer.close()

    server = await serve(script)
    outcomes = {"answered": 0, "refused": 0}
    for _ in range(300):
        try:
            response = await client.get(server.url())
        except PlatformError:
            outcomes["refused"] += 1
        else:
            outcomes["answered"] += 1
            "".join(f"{k}{v}" for k, v in response.headers.items()).encode()
    assert min(outcomes.values()) > 20


async def test_bytes_after_the_answer_are_not_the_next_answer(serve, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        await exchange.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue"
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse"
        )

    server = await serve(script)
    for _ in range(3):
        assert (await client.get(server.url())).body == b"true"


async def test_a_reset_connection_is_a_protocol_failure(serve, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        await exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
        exchange.writer.transport.abort()

    server = await serve(script)
    assert await failing(client, server.url()) == "protocol"


async def test_a_refused_connection_cannot_be_reached(client: HttpClient):
    family = socket.AF_INET6 if ":" in PUBLIC else socket.AF_INET
    with socket.socket(family) as closed:
        closed.bind((PUBLIC, 0))
        port = closed.getsockname()[1]
        host = f"[{PUBLIC}]" if ":" in PUBLIC else PUBLIC
        assert await failing(client, f"http://{host}:{port}/") == "connect"


async def test_an_unknown_host_is_not_found(client: HttpClient, clients):
    assert await failing(client, "http://unknown.test/") == "dns"
    for host in ("nothing.invalid", "a" * 70 + ".test"):
        assert await failing(clients(resolver=None), f"http://{host}/") == "dns"


async def test_a_name_server_that_never_answers_is_given_up(clients):
    async def silence(host: str) -> list[str]:
        await asyncio.sleep(60)
        return []

    assert await failing(clients(resolver=silence, timeout=0.2), "http://slow.test/") == "timeout"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's side for `secure.test`, and the file of the authority that vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secure.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("secure.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    authority, private = folder / "authority.pem", folder / "key.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority, private)
    return context, authority


async def hello(exchange: Exchange) -> None:
    await exchange.answer("hello")


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    serve, client: HttpClient, names: Names, certificates
):
    server = await serve(hello, tls=certificates[0])
    names.set("secure.test", [PUBLIC])
    assert await failing(client, server.url(host="secure.test", scheme="https")) == "tls"
    assert server.requests == []


async def test_a_trusted_certificate_opens_its_own_name_only(
    serve, clients, names: Names, certificates
):
    server = await serve(hello, tls=certificates[0])
    names.set("secure.test", [PUBLIC])
    names.set("other.test", [PUBLIC])
    client = clients(tls=ssl.create_default_context(cafile=certificates[1]))
    assert (await client.get(server.url(host="secure.test", scheme="https"))).body == b"hello"
    for host in ("other.test", PUBLIC):
        assert await failing(client, server.url(host=host, scheme="https")) == "tls"


async def test_https_may_lead_to_http_but_carries_no_secret_there(
    serve, clients, names: Names, certificates
):
    async def lead_away(exchange: Exchange) -> None:
        await exchange.redirect(plain.url(host="secure.test"))

    plain = await serve(hello)
    secure = await serve(lead_away, tls=certificates[0])
    names.set("secure.test", [PUBLIC])
    client = clients(tls=ssl.create_default_context(cafile=certificates[1]))
    response = await client.get(
        secure.url(host="secure.test", scheme="https"), same_origin_headers={"X-Key": "SEKRET"}
    )
    assert response.body == b"hello"
    assert "SEKRET" in secure.requests[0].head
    assert "SEKRET" not in plain.requests[0].head


async def test_plain_http_where_tls_was_expected_is_a_tls_failure(serve, client: HttpClient):
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(greet, PUBLIC, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        host = f"[{PUBLIC}]" if ":" in PUBLIC else PUBLIC
        assert await failing(client, f"https://{host}:{port}/") == "tls"


@pytest.mark.parametrize("stage", ["name", "place", "head", "body"])
async def test_a_cancelled_request_leaves_nothing_behind(serve, clients, names: Names, stage: str):
    reached = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if exchange.path == "/ok":
            await exchange.answer("x")
            return
        if stage == "body":
            await exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
        reached.set()
        await exchange.hang()

    async def slow_name(host: str) -> list[str]:
        if stage == "name" and not reached.is_set():
            reached.set()
            await asyncio.sleep(30)
        return [PUBLIC]

    server = await serve(script)
    client = clients(resolver=slow_name, per_host=1)
    url = server.url("/slow", host="a.test")
    tasks = [asyncio.create_task(client.get(url))]
    await asyncio.wait_for(reached.wait(), 5)
    if stage == "place":
        tasks.append(asyncio.create_task(client.get(url)))
    await asyncio.sleep(0.02)
    for task in reversed(tasks):
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, asyncio.CancelledError)
    await server.quiet()
    # The place is free again.
    assert (await asyncio.wait_for(client.get(server.url("/ok", host="a.test")), 5)).body == b"x"


async def test_failures_give_back_connections_and_files(serve, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        await exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
        exchange.writer.close()

    server = await serve(script)
    await failing(client, server.url())
    await server.quiet()
    before = psutil.Process().num_fds()
    for _ in range(50):
        await failing(client, server.url())
    await server.quiet()
    assert psutil.Process().num_fds() <= before + 1
