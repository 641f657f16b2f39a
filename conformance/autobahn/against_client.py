#!/usr/bin/env python3
"""Plays the fuzzing server of the Autobahn suite for a client under test.

The client first asks `/getCaseCount`, then opens `/runCase?case=N&agent=NAME` for each N from 1 and echoes every
message unchanged until that connection is closed, and at the end opens `/updateReports?agent=NAME`, which ends
this program. Cases may run at the same time. `/getCaseStatus?case=N&agent=NAME` answers `{"behavior": …}` of a
case that has ended.

exit: 0 all cases pass, 1 some fail or differ from the committed results, 2 the client stayed away
"""
import json
import sys
import time

import txaio
txaio.use_twisted()
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.internet import reactor

import cases
import results
from arguments import parser
from case_protocol import CaseProtocol


def main():
    p = parser(__doc__)
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--idle-timeout", type=int, default=60, help="seconds without a connection after which this ends")
    arguments = p.parse_args()
    chosen = cases.load(arguments)
    began, factory = time.time(), Factory(chosen, arguments)
    reactor.listenTCP(arguments.port, factory, interface="127.0.0.1", backlog=1024)
    reactor.callLater(1, factory.watch)
    reactor.run()
    code = results.finish(factory.results, [i for i, _ in chosen], arguments, began)
    return 2 if factory.abandoned else code


class Factory(WebSocketServerFactory):
    noisy, abandoned = False, False

    def __init__(self, chosen, arguments):
        super().__init__(f"ws://127.0.0.1:{arguments.port}")
        self.chosen, self.arguments, self.results = chosen, arguments, {}
        self.open, self.last_seen = 0, time.time()
        self.logOctets = self.logFrames = True
        self.setProtocolOptions(failByDrop=False, openHandshakeTimeout=20, closeHandshakeTimeout=3, tcpNoDelay=True)

    def buildProtocol(self, address):
        protocol = Protocol()
        protocol.factory = self
        protocol.caseTimeout = self.arguments.case_timeout
        return protocol

    def watch(self):
        if self.open == 0 and time.time() - self.last_seen > self.arguments.idle_timeout:
            self.abandoned = True
            print(f"no connection for {self.arguments.idle_timeout} s: the client under test stayed away")
            self.end()
        else:
            reactor.callLater(1, self.watch)

    def end(self):
        if reactor.running:
            reactor.stop()


class Protocol(CaseProtocol, WebSocketServerProtocol):
    def connectionMade(self):
        self.factory.open += 1
        super().connectionMade()

    def connectionLost(self, reason):
        super().connectionLost(reason)
        self.factory.open -= 1
        self.factory.last_seen = time.time()

    def onConnect(self, request):
        self.request_path = request.path
        if request.path not in ("/runCase", "/getCaseStatus"):
            return
        number = int(request.params.get("case", ["0"])[0])
        if not 1 <= number <= len(self.factory.chosen):
            raise ConnectionDeny(404, f"there is no case {number}")
        self.caseId, case = self.factory.chosen[number - 1]
        if request.path == "/runCase":
            self.runCase = case(self)

    def onOpen(self):
        if self.runCase is not None:
            return super().onOpen()
        answer = {
            "/getCaseCount": lambda: len(self.factory.chosen),
            "/getCaseStatus": lambda: {"behavior": self.factory.results.get(self.caseId, {}).get("behavior")},
        }.get(self.request_path)
        if answer is not None:
            self.sendMessage(json.dumps(answer()))
        self.sendClose(1000)

    def onMessage(self, payload, isBinary):
        if self.runCase is not None:
            super().onMessage(payload, isBinary)

    def onPong(self, payload):
        if self.runCase is not None:
            super().onPong(payload)

    def onClose(self, wasClean, code, reason):
        super().onClose(wasClean, code, reason)
        if getattr(self, "request_path", None) == "/updateReports":
            reactor.callLater(0, self.factory.end)

    def finished(self, result):
        # A case that the client runs twice keeps its first result: a second try may not mend it.
        self.factory.results.setdefault(self.caseId, result)


if __name__ == "__main__":
    sys.exit(main())
