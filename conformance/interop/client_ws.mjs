// Node `ws` as a client of the server. usage: node client_ws.mjs PORT off|shared|dedicated
import assert from 'node:assert/strict'
import { once } from 'node:events'
import WebSocket from 'ws'

import { AGREED } from './agreed.mjs'
import { run } from './checks.mjs'

const MIB = 1024 * 1024
const [port, setting] = process.argv.slice(2)

const checks = {
  'text comes back unchanged': async (base) => {
    const socket = await open(`${base}/echo`)
    for (const text of ['', 'hello', 'grüße, 世界, 🙂', 'a'.repeat(65536)]) {
      socket.send(text)
      assert.deepEqual(await message(socket), { data: text, binary: false })
    }
    socket.close()
  },
  'binary comes back unchanged': async (base) => {
    const socket = await open(`${base}/echo`)
    for (const data of [Buffer.alloc(0), Buffer.from([0, 255]), Buffer.alloc(80_000, 'pattern')]) {
      socket.send(data)
      const answer = await message(socket)
      assert.ok(answer.binary && data.equals(answer.data))
    }
    socket.close()
  },
  'a message of 1 MiB comes back unchanged': async (base) => {
    const socket = await open(`${base}/echo`)
    const data = Buffer.alloc(MIB, 'pattern')
    socket.send(data)
    assert.ok(data.equals((await message(socket)).data))
    const text = 'ä'.repeat(MIB / 2)
    socket.send(text)
    assert.equal((await message(socket)).data, text)
    socket.close()
  },
  'a message over 1 MiB closes 1009': async (base) => {
    const socket = await open(`${base}/echo`)
    socket.send(Buffer.alloc(MIB + 1))
    assert.equal((await closed(socket)).code, 1009)
  },
  'fragments come back as one message': async (base) => {
    const socket = await open(`${base}/echo`)
    for (const part of ['frag', 'ment']) socket.send(part, { fin: false })
    socket.ping('between')
    socket.send('ed', { fin: true })
    assert.equal((await message(socket)).data, 'fragmented')
    socket.close()
  },
  'a ping is answered': async (base) => {
    const socket = await open(`${base}/echo`)
    socket.ping('are you there')
    assert.equal(String((await once(socket, 'pong'))[0]), 'are you there')
    socket.close()
  },
  'JSON is read and answered': async (base) => {
    const socket = await open(`${base}/json`)
    const value = { name: 'Zoë', tags: [1, 2.5, null, true] }
    socket.send(JSON.stringify(value))
    assert.deepEqual(JSON.parse((await message(socket)).data), { received: value })
    socket.close()
  },
  'broken JSON closes 1007': async (base) => {
    const socket = await open(`${base}/json`)
    socket.send('{broken')
    assert.equal((await closed(socket)).code, 1007)
  },
  'the server closes with code and reason': async (base) => {
    for (const [code, reason] of [[1000, 'done'], [1008, 'Unauthorized'], [4321, 'grüße']]) {
      const socket = new WebSocket(`${base}/close?code=${code}&reason=${encodeURIComponent(reason)}`)
      assert.deepEqual(await closed(socket), { code, reason })
    }
  },
  'the code of the client comes back': async (base) => {
    for (const code of [1000, 1001, 3000, 4999]) {
      const socket = await open(`${base}/echo`)
      socket.close(code, 'bye')
      assert.equal((await closed(socket)).code, code)
    }
  },
  'the server picks its subprotocol': async (base) => {
    const both = await open(`${base}/subprotocol`, ['v1.nexios', 'v2.nexios'])
    assert.equal(both.protocol, 'v2.nexios')
    both.close()
    // `ws` asks for a subprotocol when it has offered one, as RFC 6455 lets it: without one it fails the handshake.
    const none = new WebSocket(`${base}/subprotocol`, ['v1.nexios'])
    assert.match(String(await once(none, 'open').catch((error) => error)), /no subprotocol/)
  },
  'a handshake that is not accepted answers 403': async (base) => {
    assert.equal((await refused(`${base}/refuse`)).status, 403)
  },
  'a rejection brings its response': async (base) => {
    assert.deepEqual(await refused(`${base}/reject`), { status: 401, body: 'no token' })
  },
  'a route that is not there answers 404': async (base) => {
    assert.equal((await refused(`${base}/nowhere`)).status, 404)
  },
  'similar messages come back unchanged': async (base) => {
    const socket = await open(`${base}/echo`)
    for (let n = 0; n < 200; n++) {
      const text = JSON.stringify({ n, words: Array(300).fill('visitor') })
      socket.send(text)
      assert.equal((await message(socket)).data, text)
    }
    socket.close()
  },
  'what the server is set to is agreed on': async (base) => {
    assert.equal(await agreed(base, {}), AGREED[setting])
    assert.equal(await agreed(base, { perMessageDeflate: false }), '')
    const small = await agreed(base, { perMessageDeflate: { serverMaxWindowBits: 10, clientMaxWindowBits: 9 } })
    const windows = '; server_max_window_bits=10; client_max_window_bits=9'
    assert.equal(small, AGREED[setting] && AGREED[setting] + windows)
  },
}

/** The server's answer to the offer that goes with these options. A large message must go both ways with it. */
async function agreed(base, options) {
  const socket = new WebSocket(`${base}/echo`, options)
  let answer
  socket.on('upgrade', (response) => (answer = response.headers['sec-websocket-extensions'] ?? ''))
  await once(socket, 'open')
  const text = 'grüße '.repeat(100_000)
  for (let n = 0; n < 3; n++) {
    socket.send(text)
    assert.ok((await message(socket)).data === text)
  }
  socket.close()
  return answer
}

async function open(url, protocols) {
  const socket = new WebSocket(url, protocols)
  await once(socket, 'open')
  return socket
}

async function message(socket) {
  const [data, binary] = await once(socket, 'message')
  return { data: binary ? data : String(data), binary }
}

async function closed(socket) {
  // A send that is under way when the server closes is no news.
  socket.on('error', () => {})
  const [code, reason] = await once(socket, 'close')
  return { code, reason: String(reason) }
}

function refused(url) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url)
    socket.on('open', () => reject(new Error('was accepted')))
    socket.on('error', reject)
    socket.on('unexpected-response', async (_, response) => {
      const parts = await response.toArray()
      resolve({ status: response.statusCode, body: Buffer.concat(parts).toString() })
    })
  })
}

process.exit((await run(checks, `ws://127.0.0.1:${port}`)) ? 0 : 1)
