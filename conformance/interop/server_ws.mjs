// Node `ws` as a server, with the routes of examples/interop_server.rs. usage: node server_ws.mjs PORT
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'

const routes = {
  '/echo': (socket) => socket.on('message', (data, binary) => socket.send(data, { binary })),
  '/json': (socket) => socket.on('message', (text) => answerJson(socket, text)),
  '/close': (socket, query) => socket.close(Number(query.get('code')), query.get('reason') ?? ''),
  '/subprotocol': () => {},
}
function answerJson(socket, text) {
  try {
    socket.send(JSON.stringify({ received: JSON.parse(text) }))
  } catch {
    socket.close(1007)
  }
}

const refusals = {
  '/refuse': 'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n',
  '/reject': 'HTTP/1.1 401 Unauthorized\r\nContent-Length: 8\r\n\r\nno token',
}

const sockets = new WebSocketServer({
  noServer: true,
  maxPayload: 1024 * 1024,
  // For clients that offer it.
  perMessageDeflate: true,
  handleProtocols: (offered) => (offered.has('v2.nexios') ? 'v2.nexios' : false),
})
const server = createServer((_, response) => response.end('interop'))

server.on('upgrade', (request, stream, head) => {
  const url = new URL(request.url, 'ws://127.0.0.1')
  const route = routes[url.pathname]
  if (route === undefined) {
    stream.end(refusals[url.pathname] ?? 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n')
    return
  }
  sockets.handleUpgrade(request, stream, head, (socket) => {
    // What a peer does wrong closes its own connection; nothing else is to be done about it here.
    socket.on('error', () => {})
    route(socket, url.searchParams)
  })
})
process.on('SIGTERM', () => process.exit(0))
server.listen(Number(process.argv[2]), '127.0.0.1')
