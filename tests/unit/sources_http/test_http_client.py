from __future__ import annotations

import asyncio
import gzip
from datetime import UTC, datetime, timedelta

import pytest
from raw_server import PUBLIC, Exchange, Names

from distill_grpc.sources.base import PlatformError
from distill_grpc.sources.decoding import ACCEPT_ENCODING
from distill_grpc.sources.http import HttpClient, Redirect

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


async def hello(exchange: Exchange) -> None:
    await exchange.answer("hello", headers=["Content-Type: text/plain", 'ETag: "x"'])


async def test_an_answer_arrives_whole(serve, client: HttpClient):
    server = await serve(hello)
    response = await client.get(server.url("/feed?a=1&a=2#part"), headers={"If-None-Match": '"y"'})
    assert (response.status, response.body) == (200, b"hello")
    assert response.url == server.url("/feed?a=1&a=2")
    assert response.headers["etag"] == response.headers["ETag"] == '"x"'
    assert response.redirects == ()
    assert response.retry_at is None
    assert response.max_age is None
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/feed?a=1&a=2")
    assert request.headers["if-none-match"] == '"y"'
    assert request.headers["accept-encoding"] == ACCEPT_ENCODING
    assert request.headers["user-agent"].startswith("Distill")


async def test_a_source_cannot_ask_for_an_encoding_that_is_not_decoded(serve, client):
    server = await serve(hello)
    await client.get(server.url(), headers={"accept-encoding": "zstd", "user-agent": "x"})
    (request,) = server.requests
    assert request.head.lower().count("accept-encoding:") == 1
    assert request.headers["accept-encoding"] == ACCEPT_ENCODING
    assert request.headers["user-agent"].startswith("Distill")


@pytest.mark.parametrize(
    "status", [200, 204, 205, 300, 304, 400, 401, 403, 404, 410, 418, 429, 500, 503, 599]
)
async def test_a_status_never_raises(serve, client: HttpClient, status: int):
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"" if status in {204, 205, 304} else b"x", status=f"{status} So")

    server = await serve(script)
    assert (await client.get(server.url())).status == status


async def test_a_gzip_body_is_decoded_and_measured_decoded(serve, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        await exchange.answer(gzip.compress(b"x" * 1000), headers=["Content-Encoding: gzip"])

    server = await serve(script)
    assert (await client.get(server.url(), max_bytes=1000)).body == b"x" * 1000
    with pytest.raises(PlatformError) as raised:
        await client.get(server.url(), max_bytes=999)
    assert raised.value.reason == "too_large"


async def test_an_answer_without_a_body_may_name_any_encoding(serve, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        await exchange.answer(status="304 Not Modified", headers=["Content-Encoding: br, zstd"])

    server = await serve(script)
    assert (await client.get(server.url())).status == 304


async def test_chunked_and_unmarked_bodies_arrive_whole(serve, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        if exchange.path == "/chunked":
            await exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(3):
                await exchange.send("3\r\nabc\r\n")
            await exchange.send("0\r\n\r\n")
        else:
            await exchange.send("HTTP/1.0 200 OK\r\n\r\nabcabcabc")
            exchange.writer.close()

    server = await serve(script)
    for path in ("/chunked", "/unmarked"):
        assert (await client.get(server.url(path))).body == b"abcabcabc"


async def test_time_in_the_headers_is_told(serve, clients):
    async def script(exchange: Exchange) -> None:
        await exchange.answer(
            status="429 Slow Down",
            headers=[
                "Date: Fri, 20 Nov 2026 15:00:00 GMT",
                "Retry-After: Fri, 20 Nov 2026 15:01:00 GMT",
                "Cache-Control: max-age=300",
            ],
        )

    server = await serve(script)
    response = await clients(now=lambda: NOW).get(server.url())
    assert response.date == NOW + timedelta(hours=3)
    assert response.retry_at == NOW + timedelta(minutes=1)
    assert response.max_age == 300


async def test_without_a_date_our_clock_counts(serve, clients):
    async def script(exchange: Exchange) -> None:
        await exchange.answer(status="503 Later", headers=["Retry-After: 90"])

    server = await serve(script)
    response = await clients(now=lambda: NOW).get(server.url())
    assert response.date == NOW
    assert response.retry_at == NOW + timedelta(seconds=90)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_and_told(serve, client: HttpClient, status: int):
    async def script(exchange: Exchange) -> None:
        if exchange.path == "/end":
            await exchange.answer("here")
        else:
            await exchange.redirect({"/": "a/b#x", "/a/b": "../end"}[exchange.path], status)

    server = await serve(script)
    response = await client.get(server.url())
    assert response.body == b"here"
    assert response.url == server.url("/end")
    assert response.redirects == (
        Redirect(status, server.url("/a/b")),
        Redirect(status, server.url("/end")),
    )


async def test_a_redirect_without_a_location_is_the_answer(serve, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        await exchange.answer("nowhere", status="302 Found")

    server = await serve(script)
    response = await client.get(server.url())
    assert (response.status, response.body, response.redirects) == (302, b"nowhere", ())


@pytest.mark.parametrize("allowed", [0, 1, 5])
async def test_a_redirect_loop_ends(serve, client: HttpClient, allowed: int):
    async def script(exchange: Exchange) -> None:
        await exchange.redirect("/again")

    server = await serve(script)
    with pytest.raises(PlatformError) as raised:
        await client.get(server.url(), max_redirects=allowed)
    assert raised.value.reason == "too_many_redirects"
    assert len(server.requests) == allowed + 1


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://u:p@public.test/", "gopher://x/"]
)
async def test_a_redirect_out_of_http_is_refused(serve, client: HttpClient, location: str):
    async def script(exchange: Exchange) -> None:
        await exchange.redirect(location)

    server = await serve(script)
    with pytest.raises(PlatformError) as raised:
        await client.get(server.url())
    assert raised.value.reason == "invalid_url"
    assert "redirects" in raised.value.message


async def test_a_post_carries_its_body_and_follows_no_redirect(serve, client: HttpClient):
    received: list[bytes] = []

    async def script(exchange: Exchange) -> None:
        received.append(await exchange.reader.readexactly(int(exchange.headers["content-length"])))
        await exchange.redirect("/elsewhere", 307)

    server = await serve(script)
    response = await client.request(
        "POST", server.url(), headers={"Content-Type": "application/json"}, body=b"{}"
    )
    assert (response.status, response.headers["Location"]) == (307, "/elsewhere")
    assert received == [b"{}"]
    (request,) = server.requests
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json"


async def test_a_head_request_has_no_body_but_the_headers(serve, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        await exchange.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nContent-Encoding: gzip\r\n\r\n"
        )

    server = await serve(script)
    response = await client.request("HEAD", server.url())
    assert (response.body, response.headers["Content-Length"]) == (b"", "99")


SECRETS = {"X-Goog-Api-Key": "SEKRET-1"}
PLAIN = {"Authorization": "Bearer SEKRET-2", "Cookie": "SEKRET-3", "X-Other": "fine"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("changed", ["name", "port"])
async def test_secrets_stay_with_their_origin(
    serve, client: HttpClient, names: Names, status: int, changed: str
):
    async def at_home(exchange: Exchange) -> None:
        here = server.url
        targets = {"/": "/second", "/second": abroad.url("/abroad", host=abroad_name)}
        targets["/abroad"] = here("/back", host="home.test")
        if exchange.path in targets:
            await exchange.redirect(targets[exchange.path], status)
        else:
            await exchange.answer("end")

    server = await serve(at_home)
    abroad, abroad_name = server, "abroad.test"
    if changed == "port":
        abroad, abroad_name = await serve(at_home), "home.test"
    names.set("home.test", [PUBLIC])
    names.set("abroad.test", [PUBLIC])

    response = await client.get(
        server.url(host="home.test"), headers=PLAIN, same_origin_headers=SECRETS
    )

    assert (response.body, len(response.redirects)) == (b"end", 3)
    seen = {r.path: r for r in server.requests + abroad.requests}
    for path in ("/", "/second"):
        assert all(f"SEKRET-{n}" in seen[path].head for n in (1, 2, 3))
    for path in ("/abroad", "/back"):  # led back, but by a stranger
        assert "SEKRET" not in seen[path].head
        assert seen[path].headers["x-other"] == "fine"


async def test_cookies_are_not_kept(serve, client: HttpClient, names: Names):
    async def script(exchange: Exchange) -> None:
        await exchange.answer("x", headers=["Set-Cookie: track=me; Path=/"])

    names.set("public.test", [PUBLIC])
    server = await serve(script)
    for _ in range(2):
        await client.get(server.url(host="public.test"))
    assert len(server.requests) == 2
    assert not [r for r in server.requests if "cookie" in r.headers]


async def test_a_connection_is_used_again(serve, client: HttpClient):
    server = await serve(hello)
    for _ in range(3):
        await client.get(server.url())
    assert (server.connections, len(server.requests)) == (1, 3)


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nb", "a\rb", "a\x00b", "a\udc80b"])
async def test_a_header_cannot_smuggle_another(serve, client: HttpClient, value: str):
    server = await serve(hello)
    for given in ({"headers": {"X-A": value}}, {"same_origin_headers": {"Authorization": value}}):
        with pytest.raises(PlatformError) as raised:
            await client.get(server.url(), **given)
        assert value not in raised.value.message
    assert server.requests == []


@pytest.mark.parametrize(
    "path", ["/x\r\nX-Injected: 1", "/x HTTP/1.1\r\nX-Injected: 1\r\n\r\n", "/\x00", "/\n"]
)
async def test_an_address_cannot_smuggle_a_header(serve, client: HttpClient, path: str):
    server = await serve(hello)
    with pytest.raises(PlatformError) as raised:
        await client.get(server.url(path))
    assert raised.value.reason == "invalid_url"
    await client.get(server.url("/%0d%0aX-Injected:%201"))  # an honest escape stays one
    (request,) = server.requests
    assert "x-injected" not in request.headers


async def test_headers_in_another_charset_can_be_stored_and_sent_back(serve, client: HttpClient):
    async def script(exchange: Exchange) -> None:
        await exchange.answer("x", headers=['ETag: "caf\udce9"', "X-Name: caf\u00e9"])

    server = await serve(script)
    response = await client.get(server.url())
    assert response.headers["ETag"] == '"caf\u00e9"'
    assert response.headers["X-Name"] == "caf\u00e9"
    await client.get(server.url(), headers={"If-None-Match": response.headers["ETag"]})


async def test_one_host_sees_few_requests_at_a_time(serve, clients, names: Names):
    now, most = {"a.test": 0, "b.test": 0}, {"a.test": 0, "b.test": 0}

    async def script(exchange: Exchange) -> None:
        host = exchange.headers["host"].partition(":")[0]
        now[host] += 1
        most[host] = max(most[host], now[host])
        await asyncio.sleep(0.02)
        now[host] -= 1
        await exchange.answer("x")

    server = await serve(script)
    names.set("a.test", [PUBLIC])
    names.set("b.test", [PUBLIC])
    client = clients(per_host=2)
    await asyncio.gather(
        *(client.get(server.url(host=host)) for host in ("a.test", "b.test") for _ in range(10))
    )
    assert most == {"a.test": 2, "b.test": 2}
    assert len(server.requests) == 20


async def test_the_api_of_a_platform_is_asked_for_many_accounts_at_once(serve, clients):
    waiting = 0
    all_there = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 8:
            all_there.set()
        async with asyncio.timeout(60):
            await all_there.wait()
        await exchange.answer("x")

    server = await serve(script)
    client = clients(per_host=1).at_api()
    answers = await asyncio.gather(*(client.get(server.url()) for _ in range(8)))
    assert {a.status for a in answers} == {200}


async def test_waiting_for_a_place_has_an_end_of_its_own(serve, clients):
    asked, release = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        asked.set()
        await release.wait()
        await exchange.answer("x")

    server = await serve(script)
    client = clients(per_host=1, queue_timeout=0.1, timeout=5)
    first = asyncio.create_task(client.get(server.url()))
    await asked.wait()
    with pytest.raises(PlatformError) as raised:
        await client.get(server.url())
    assert raised.value.reason == "timeout"
    release.set()
    assert (await first).status == 200
    assert (await client.get(server.url())).status == 200


async def test_the_wait_for_a_place_does_not_use_up_the_time_for_the_answer(serve, clients):
    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(0.15)
        await exchange.answer("x")

    server = await serve(script)
    client = clients(per_host=1, timeout=0.4)
    answers = await asyncio.gather(*(client.get(server.url()) for _ in range(5)))
    assert [a.status for a in answers] == [200] * 5


async def test_redirects_between_two_full_hosts_do_not_wait_for_each_other(
    serve, clients, names: Names
):
    async def script(exchange: Exchange) -> None:
        other = "b.test" if exchange.headers["host"].startswith("a.") else "a.test"
        if exchange.path == "/":
            await asyncio.sleep(0.02)
            await exchange.redirect(server.url("/end", host=other))
        else:
            await exchange.answer("end")

    server = await serve(script)
    names.set("a.test", [PUBLIC])
    names.set("b.test", [PUBLIC])
    client = clients(per_host=1, queue_timeout=3)
    answers = await asyncio.gather(
        *(client.get(server.url(host=host)) for host in ("a.test", "b.test") * 3)
    )
    assert {a.body for a in answers} == {b"end"}


async def test_a_closed_client_says_so(serve, clients):
    server = await serve(hello)
    async with clients() as client:
        await client.get(server.url())
    with pytest.raises(RuntimeError):
        await client.get(server.url())
    await client.close()
    await server.quiet()
