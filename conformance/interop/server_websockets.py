#!/usr/bin/env python3
"""Python `websockets` as a server, with the routes of examples/interop_server.rs. usage: server_websockets.py PORT"""
import asyncio
import http
import json
import signal
import sys
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import serve


async def handle(ws):
    url = urlsplit(ws.request.path)
    if url.path == "/json":
        try:
            async for text in ws:
                await ws.send(json.dumps({"received": json.loads(text)}))
        except json.JSONDecodeError:
            await ws.close(1007)
    elif url.path == "/close":
        query = parse_qs(url.query)
        await ws.close(int(query["code"][0]), query.get("reason", [""])[0])
    else:
        async for message in ws:
            await ws.send(message)


def refuse(connection, request):
    path = urlsplit(request.path).path
    if path == "/refuse":
        return connection.respond(http.HTTPStatus.FORBIDDEN, "")
    if path == "/reject":
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "no token")
    if path not in ("/echo", "/json", "/close", "/subprotocol"):
        return connection.respond(http.HTTPStatus.NOT_FOUND, "")
    return None


def subprotocol(connection, offered):
    return "v2.nexios" if "v2.nexios" in offered else None


async def main(port):
    async with serve(handle, "127.0.0.1", port, process_request=refuse, select_subprotocol=subprotocol,
                     subprotocols=["v2.nexios"]) as server:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
        await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
