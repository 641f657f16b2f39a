"""What the Autobahn cases expect of the connection that they run on, for both roles."""
import time

from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet import reactor

from cases import raw

WIRELOG_LINES = 200


class CaseProtocol:
    """Mixed in before autobahn's server or client protocol; `runCase` is the case, `finished(result)` gets its result."""

    caseId, runCase, limit = None, None, None
    caseTimeout = 600

    def connectionMade(self):
        self.connectionWasOpen = False
        self.createWirelog, self.wirelog = True, []
        self.createStats = True
        self.rxFrameStats, self.txFrameStats = {}, {}
        self.began = time.time()
        super().connectionMade()

    def connectionLost(self, reason):
        super().connectionLost(reason)
        if self.limit is not None and self.limit.active():
            self.limit.cancel()
        if self.runCase is None:
            return
        case = self.runCase
        case.onConnectionLost(self.failedByMe)
        self.finished({
            "behavior": case.behavior, "behaviorClose": case.behaviorClose,
            "result": case.result, "resultClose": case.resultClose,
            "remoteCloseCode": self.remoteCloseCode, "remoteCloseReason": self.remoteCloseReason,
            "duration": int(1000 * (time.time() - self.began)),
            "description": case.DESCRIPTION, "expectation": case.EXPECTATION,
            "expected": repr(case.expected)[:2000], "received": repr(case.received)[:2000],
            "wirelog": self.wirelog,
        })

    def onOpen(self):
        self.connectionWasOpen = True
        self.limit = reactor.callLater(self.caseTimeout, self.dropConnection, abort=True)
        self.runCase.onOpen()

    def onMessage(self, payload, isBinary):
        self.runCase.onMessage(payload, isBinary)

    def onPong(self, payload):
        self.runCase.onPong(payload)

    def onClose(self, wasClean, code, reason):
        if self.runCase is not None:
            self.runCase.onClose(wasClean, code, reason)

    # What the cases call; their payloads come as latin-1 `str`.

    def sendFrame(self, opcode, payload=b"", **options):
        if options.get("mask") is not None:
            options["mask"] = raw(options["mask"])
        super().sendFrame(opcode, payload=raw(payload), **options)

    def sendMessage(self, payload, isBinary=False, fragmentSize=None, sync=False, doNotCompress=False):
        super().sendMessage(raw(payload), isBinary, fragmentSize, sync, doNotCompress)

    def sendMessageFrameData(self, payload, sync=False):
        return super().sendMessageFrameData(raw(payload), sync)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, raw(reasonUtf8), isReply)

    def enableWirelog(self, on):
        self.createWirelog = on

    def continueLater(self, delay, action, tag=None):
        self._later(delay, "continue", action)

    def killAfter(self, delay):
        self._later(delay, "kill", self._fail_connection)

    def closeAfter(self, delay):
        self._later(delay, "close", self.sendClose)

    def _later(self, delay, tag, action):
        def due():
            if self.state != WebSocketProtocol.STATE_CLOSED:
                self._note(f"{tag} after {delay}s")
                action()
        reactor.callLater(delay, due)

    # The wire log, kept for the report of a case that failed.

    def _note(self, line):
        if self.createWirelog and len(self.wirelog) < WIRELOG_LINES:
            self.wirelog.append(f"{time.time() - self.began:.3f} {line}")

    def logRxOctets(self, data):
        self._note(f"RX {len(data)} octets {data[:64].hex()}")

    def logTxOctets(self, data, sync):
        self._note(f"TX {len(data)} octets {data[:64].hex()}")

    def logRxFrame(self, header, payload):
        self.rxFrameStats[header.opcode] = self.rxFrameStats.get(header.opcode, 0) + 1
        if self.createWirelog:
            self._note_frame("RX", header, b"".join(payload))

    def logTxFrame(self, header, payload, repeatLength, chopsize, sync):
        self.txFrameStats[header.opcode] = self.txFrameStats.get(header.opcode, 0) + 1
        self._note_frame("TX", header, payload)

    def _note_frame(self, way, header, payload):
        self._note(f"{way} frame op={header.opcode} fin={header.fin} rsv={header.rsv} len={len(payload)} {payload[:64]!r}")
