#!/usr/bin/env python3
"""Python `websockets` as a client of the server. usage: client_websockets.py PORT off|shared|dedicated"""
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from checks import run

MIB = 1024 * 1024
# The answer to the offer of `websockets`, which lets the server choose the client's window.
AGREED = {
    "off": None,
    "shared": "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "dedicated": "permessage-deflate",
}


async def text_comes_back_unchanged(base):
    async with connect(base + "/echo") as ws:
        for text in ("", "hello", "grüße, 世界, 🙂", "a" * 65536):
            await ws.send(text)
            assert await ws.recv() == text


async def binary_comes_back_unchanged(base):
    async with connect(base + "/echo") as ws:
        for data in (b"", b"\x00\xff", bytes(range(256)) * 300):
            await ws.send(data)
            assert await ws.recv() == data


async def a_message_of_1_mib_comes_back_unchanged(base):
    async with connect(base + "/echo", max_size=MIB) as ws:
        for message in (bytes(range(256)) * (MIB // 256), "ä" * (MIB // 2)):
            await ws.send(message)
            assert await ws.recv() == message


async def a_message_over_1_mib_closes_1009(base):
    async with connect(base + "/echo", max_size=2 * MIB) as ws:
        code, _ = await closed(ws, lambda: ws.send(b"x" * (MIB + 1)))
        assert code == 1009, code


async def fragments_come_back_as_one_message(base):
    async with connect(base + "/echo") as ws:
        await ws.send(["frag", "ment", "", "ed"])
        assert await ws.recv() == "fragmented"


async def many_messages_keep_their_order(base):
    async with connect(base + "/echo") as ws:
        for n in range(1000):
            await ws.send(str(n))
        assert [await ws.recv() for _ in range(1000)] == [str(n) for n in range(1000)]


async def a_ping_is_answered(base):
    async with connect(base + "/echo") as ws:
        await (await ws.ping(b"are you there"))


async def json_is_read_and_answered(base):
    async with connect(base + "/json") as ws:
        value = {"name": "Zoë", "tags": [1, 2.5, None, True]}
        await ws.send(json.dumps(value))
        assert json.loads(await ws.recv()) == {"received": value}


async def broken_json_closes_1007(base):
    async with connect(base + "/json") as ws:
        code, _ = await closed(ws, lambda: ws.send("{broken"))
        assert code == 1007, code


async def the_server_closes_with_code_and_reason(base):
    for code, reason in ((1000, "done"), (1008, "Unauthorized"), (4321, "grüße")):
        async with connect(f"{base}/close?code={code}&reason={reason}") as ws:
            assert await closed(ws) == (code, reason)


async def the_code_of_the_client_comes_back(base):
    for code in (1000, 1001, 3000, 4999):
        async with connect(base + "/echo") as ws:
            await ws.close(code, "bye")
            assert ws.protocol.close_rcvd.code == code, ws.protocol.close_rcvd


async def the_server_picks_its_subprotocol(base):
    async with connect(base + "/subprotocol", subprotocols=["v1.nexios", "v2.nexios"]) as ws:
        assert ws.subprotocol == "v2.nexios"
    async with connect(base + "/subprotocol", subprotocols=["v1.nexios"]) as ws:
        assert ws.subprotocol is None


async def a_handshake_that_is_not_accepted_answers_403(base):
    assert (await refused(base + "/refuse")).status_code == 403


async def a_rejection_brings_its_response(base):
    response = await refused(base + "/reject")
    assert (response.status_code, response.body) == (401, b"no token"), response


async def a_route_that_is_not_there_answers_404(base):
    assert (await refused(base + "/nowhere")).status_code == 404


async def similar_messages_come_back_unchanged(base):
    async with connect(base + "/echo") as ws:
        for n in range(200):
            text = json.dumps({"n": n, "words": ["visitor"] * 300})
            await ws.send(text)
            assert await ws.recv() == text


async def what_the_server_is_set_to_is_agreed_on(base):
    async with connect(base + "/echo") as ws:
        answer = ws.response.headers.get("Sec-WebSocket-Extensions")
    assert answer == AGREED[sys.argv[2]], answer
    async with connect(base + "/echo", compression=None) as ws:
        assert "Sec-WebSocket-Extensions" not in ws.response.headers
        await ws.send("a" * 65536)
        assert await ws.recv() == "a" * 65536


async def closed(ws, action=None):
    """Waits for the end; -> the code and the reason that the server sent."""
    try:
        if action is not None:
            await action()
        while True:
            await ws.recv()
    except ConnectionClosed as end:
        return end.rcvd.code, end.rcvd.reason


async def refused(url):
    try:
        async with connect(url):
            raise AssertionError("was accepted")
    except InvalidStatus as refusal:
        return refusal.response


CHECKS = [
    text_comes_back_unchanged, binary_comes_back_unchanged, a_message_of_1_mib_comes_back_unchanged,
    a_message_over_1_mib_closes_1009, fragments_come_back_as_one_message, many_messages_keep_their_order,
    a_ping_is_answered, json_is_read_and_answered, broken_json_closes_1007, the_server_closes_with_code_and_reason,
    the_code_of_the_client_comes_back, the_server_picks_its_subprotocol,
    a_handshake_that_is_not_accepted_answers_403, a_rejection_brings_its_response,
    a_route_that_is_not_there_answers_404, similar_messages_come_back_unchanged,
    what_the_server_is_set_to_is_agreed_on,
]

if __name__ == "__main__":
    sys.exit(run(CHECKS, f"ws://127.0.0.1:{sys.argv[1]}"))
