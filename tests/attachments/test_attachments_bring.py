"""What a request names is brought whole, once, in the place of its name; whatever fails names the field."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from inhouse.attachments import Attachments
from inhouse.core.errors import BadRequest, BodyTooLarge, Unsupported
from inhouse.core.messages import Image, Message, Remote, Text, ToolResult
from inhouse.core.requests import Chat, Embed, Render
from support.fileserver import CERTIFICATE, Fault, FileServer

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 2, 3) + b"\x08\x02\x00\x00\x00crc!"
PARAM = "messages[0].content[1].image_url.url"
SIZE = 100_000


@pytest.fixture
def server():
    with FileServer({"/a.png": PNG, "/t.txt": "Grüße\n".encode()}) as server:
        yield server


@pytest.fixture
def attachments():
    """Makes one; all are closed in the end."""
    made = []

    def make(*hosts: str, size: int = SIZE, timeout: float = 20.0) -> Attachments:
        made.append(Attachments(hosts=hosts, size=size, timeout=timeout))
        return made[-1]

    yield make
    for one in made:
        one.close()


def chat(*parts) -> Chat:
    return Chat(model="m", messages=(Message("user", (Text("look"), *parts)),))


def image(url: str, param: str = PARAM) -> Remote:
    return Remote(url, "image", param)


def text(url: str, param: str = PARAM) -> Remote:
    return Remote(url, "text", param)


async def refused(attachments: Attachments, remote: Remote) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        await attachments.bring(chat(remote))
    error = caught.value
    assert error.param == remote.param
    assert error.hint
    for secret in ("127.0.0.1", "localhost", "/", "?"):
        assert secret not in error.message.replace(remote.param, "").replace("image/", "").replace(
            "text/", ""
        )
    return error


async def test_an_image_and_a_text_stand_where_they_were_named(server, attachments):
    got = await attachments(server.authority).bring(
        chat(image(server.url("/a.png")), Text("and"), text(server.url("/t.txt")))
    )
    assert got == chat(Image(PNG, "image/png"), Text("and"), Text("Grüße\n"))


async def test_tool_results_and_renderings_are_brought_too(server, attachments):
    picture, words = image(server.url("/a.png")), text(server.url("/t.txt"))
    result = ToolResult("seen", "call_1", images=(Image(PNG, "image/png"), picture, words))
    wanted = ToolResult("seen\nGrüße\n", "call_1", images=(Image(PNG, "image/png"),) * 2)
    keeper = attachments(server.authority)
    assert await keeper.bring(chat(result)) == chat(wanted)
    rendered = await keeper.bring(Render(model="m", chat=chat(picture)))
    assert rendered == Render(model="m", chat=chat(Image(PNG, "image/png")))


async def test_what_names_nothing_passes_as_it_is(attachments):
    closed = attachments()
    for request in (chat(Image(PNG, "image/png"), ToolResult("x")), Embed(model="m", inputs=("x",))):
        assert await closed.bring(request) is request


async def test_each_address_is_asked_once(server, attachments):
    one = image(server.url("/a.png"))
    got = await attachments(server.authority).bring(chat(one, one, image(one.url, "messages[9]")))
    assert got == chat(*[Image(PNG, "image/png")] * 3)
    assert len(server.hits) == 1


@pytest.mark.parametrize("hosts", [(), ("example.com", "*.example.org:443", "*")])
async def test_without_leave_nothing_is_connected_to(hosts, attachments):
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        error = await refused(
            attachments(*hosts), image(f"http://127.0.0.1:{canary.getsockname()[1]}/x.png?key=1")
        )
        assert isinstance(error, Unsupported)
        assert "INHOUSE_FETCH_HOSTS" in error.hint
        with pytest.raises(BlockingIOError):
            canary.accept()


async def test_one_address_without_leave_keeps_the_others_from_being_asked(server, attachments):
    with pytest.raises(Unsupported) as caught:
        await attachments(server.authority).bring(
            chat(image(server.url("/a.png")), image("https://example.com/x", "messages[1]"))
        )
    assert caught.value.param == "messages[1]"
    assert server.hits == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/x.png",
        "file:///etc/passwd",
        "http://user:pw@h/x.png",
        "http://h\\@g/",
        "http://",
        "gopher://h/",
        "https://h:0/",
    ],
)
async def test_what_is_no_plain_address_is_refused(url, attachments):
    error = await refused(attachments("*", "h"), image(url))
    assert "pw" not in error.message


async def test_at_most_so_many_addresses_in_one_request(server, attachments):
    many = [image(server.url(f"/a.png?{n}"), f"messages[{n}]") for n in range(33)]
    with pytest.raises(BadRequest) as caught:
        await attachments(server.authority).bring(chat(*many))
    assert caught.value.param == "messages[32]"
    assert server.hits == []


@pytest.mark.parametrize("status", [204, 206, 400, 401, 403, 404, 429, 500, 503])
async def test_an_answer_that_is_no_file_is_the_callers_to_mend(status, server, attachments):
    server.faults.append(Fault(status=status))
    assert f"HTTP {status}" in (await refused(attachments(server.authority), image(server.url("/x")))).message


@pytest.mark.parametrize("fault", [Fault(truncate=10), Fault(reset=10), Fault(length=999, truncate=40)])
async def test_a_broken_transfer_is_refused(fault, server, attachments):
    server.faults.append(fault)
    await refused(attachments(server.authority), image(server.url("/a.png")))


async def test_nobody_there_is_refused_too(attachments):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        place = f"127.0.0.1:{gone.getsockname()[1]}"
    await refused(attachments(place), image(f"http://{place}/x.png"))


@pytest.mark.parametrize(
    "fault", [Fault(endless=True), Fault(length=10**12, stall=0), Fault(status=200, body=bytes(SIZE + 1))]
)
async def test_too_much_is_refused_while_it_comes(fault, server, attachments):
    server.faults.append(fault)
    assert isinstance(await refused(attachments(server.authority), image(server.url("/a.png"))), BodyTooLarge)


async def test_what_is_exactly_as_large_as_allowed_is_taken(server, attachments):
    server.files["/full"] = PNG + bytes(SIZE - len(PNG))
    got = await attachments(server.authority).bring(chat(image(server.url("/full"))))
    assert got.messages[0].parts[1].data == server.files["/full"]


async def test_all_together_have_a_limit_as_well(server, attachments):
    server.files["/full"] = PNG + bytes(SIZE - len(PNG))
    keeper = attachments(server.authority)
    await keeper.bring(chat(*[image(server.url(f"/full?{n}")) for n in range(4)]))
    with pytest.raises(BodyTooLarge):
        await keeper.bring(chat(*[image(server.url(f"/full?{n}")) for n in range(5)]))


@pytest.mark.parametrize("fault", [Fault(trickle=0, pace=0.05), Fault(stall=20), Fault(silent=True)])
async def test_slow_answers_end_with_the_time(fault, server, attachments):
    server.faults.append(fault)
    server.files["/slow"] = PNG + bytes(10_000)
    error = await refused(attachments(server.authority, timeout=0.3), image(server.url("/slow")))
    assert "0.3 s" in error.message


async def test_nothing_is_unpacked(server, attachments):
    server.faults.append(
        Fault(status=200, body=b"\x1f\x8b" + bytes(50), headers={"Content-Encoding": "gzip"})
    )
    assert "compressed" in (await refused(attachments(server.authority), image(server.url("/a.png")))).message
    assert server.hits[0].headers["accept-encoding"] == "identity"


async def test_nothing_of_this_server_is_told_to_the_other(server, attachments):
    await attachments(server.authority).bring(chat(image(server.url("/a.png"))))
    assert set(server.hits[0].headers) == {"host", "user-agent", "accept", "accept-encoding"}


async def test_a_certificate_nobody_vouches_for_is_refused(attachments):
    with FileServer({"/a.png": PNG}, tls=True, host="localhost") as server:
        await refused(attachments(server.authority), image(server.url("/a.png")))
        assert server.hits == []


async def test_https_is_checked_against_the_host_that_was_named(attachments, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with FileServer({"/a.png": PNG}, tls=True, host="localhost") as server:
        got = await attachments(server.authority).bring(chat(image(server.url("/a.png"))))
        assert got == chat(Image(PNG, "image/png"))


async def test_a_proxy_of_the_environment_is_not_used(server, attachments, monkeypatch):
    with FileServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: False)
        await attachments(server.authority).bring(chat(image(server.url("/a.png"))))
        assert proxy.hits == []
        assert len(server.hits) == 1


class Doors:
    """An asyncio server that answers nobody: how many stand in it, and when one is gone."""

    async def __aenter__(self):
        self.inside, self.most, self.gone = 0, 0, asyncio.Event()
        self.full, self._guests = asyncio.Event(), set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.place = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error):
        self._server.close()
        await self._server.wait_closed()
        await asyncio.wait_for(asyncio.gather(*self._guests), 20)

    async def _serve(self, reader, writer):  # each ends once its client is gone
        self._guests.add(asyncio.current_task())
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside == 4:
            self.full.set()
        await reader.read()
        self.inside -= 1
        self.gone.set()
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_leaves_ends_its_fetches_and_only_a_few_run_at_once(attachments):
    async with Doors() as doors:
        wanted = chat(*[image(f"http://{doors.place}/{n}") for n in range(20)])
        task = asyncio.create_task(attachments(doors.place, timeout=60).bring(wanted))
        await asyncio.wait_for(doors.full.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(doors.gone.wait(), 20)
        assert doors.most == 4


async def test_one_failure_ends_the_other_fetches(server, attachments):
    async with Doors() as doors:
        keeper = attachments(doors.place, server.authority, timeout=60)
        with pytest.raises(BadRequest, match="404"):  # and leaving waits for the others to be gone
            await keeper.bring(chat(image(f"http://{doors.place}/"), image(server.url("/none"))))
