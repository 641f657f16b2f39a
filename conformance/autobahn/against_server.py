#!/usr/bin/env python3
"""Runs the Autobahn cases as a client against a running server.

exit: 0 all cases pass, 1 some fail or differ from the committed results
"""
import sys
import time

import txaio
txaio.use_twisted()
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from twisted.internet import reactor

import cases
import results
from arguments import parser
from case_protocol import CaseProtocol


def main():
    p = parser(__doc__)
    p.add_argument("--url", required=True)
    p.add_argument("--jobs", type=int, default=4, help="cases at the same time")
    arguments = p.parse_args()
    chosen = cases.load(arguments)
    began, run = time.time(), Run(chosen, arguments)
    reactor.callWhenRunning(run.start_more)
    reactor.run()
    return results.finish(run.results, [i for i, _ in chosen], arguments, began)


class Run:
    def __init__(self, chosen, arguments):
        self.waiting, self.arguments = list(chosen), arguments
        self.running, self.results = 0, {}

    def start_more(self):
        while self.waiting and self.running < self.arguments.jobs:
            self.running += 1
            connectWS(Factory(self, *self.waiting.pop(0)))
        if not self.waiting and not self.running and reactor.running:
            reactor.stop()

    def ended(self, case_id, result):
        if case_id not in self.results:
            self.results[case_id] = result
            self.running -= 1
            reactor.callLater(0, self.start_more)


class Protocol(CaseProtocol, WebSocketClientProtocol):
    def finished(self, result):
        self.factory.run.ended(self.caseId, result)


class Factory(WebSocketClientFactory):
    noisy = False

    def __init__(self, run, case_id, case):
        super().__init__(run.arguments.url, useragent="autobahn-cases/" + case_id)
        self.run, self.case_id, self.case = run, case_id, case
        self.logOctets = self.logFrames = True
        self.setProtocolOptions(failByDrop=False, openHandshakeTimeout=20, closeHandshakeTimeout=3,
                                serverConnectionDropTimeout=3, tcpNoDelay=True)

    def buildProtocol(self, address):
        protocol = Protocol()
        protocol.factory, protocol.caseId = self, self.case_id
        protocol.caseTimeout = self.run.arguments.case_timeout
        protocol.runCase = self.case(protocol)
        return protocol

    def clientConnectionFailed(self, connector, reason):
        self.run.ended(self.case_id, {
            "behavior": "FAILED", "behaviorClose": "FAILED", "duration": 0, "resultClose": "",
            "result": "no TCP connection: " + reason.getErrorMessage(),
        })


if __name__ == "__main__":
    sys.exit(main())
