// Chromium as a client of the server. usage: node client_chromium.mjs PORT off|shared|dedicated
// The functions given to `page.evaluate` run in the page, with the browser's own WebSocket.
import assert from 'node:assert/strict'

import { launch } from '../chromium.mjs'
import { AGREED } from './agreed.mjs'
import { run } from './checks.mjs'

const MIB = 1024 * 1024
const [port, setting] = process.argv.slice(2)

const checks = {
  'text comes back unchanged': async (page) => {
    const texts = ['', 'hello', 'grüße, 世界, 🙂', 'a'.repeat(65536)]
    assert.deepEqual(await page.evaluate((texts) => exchange('/echo', texts), texts), texts)
  },
  'binary comes back unchanged': async (page) => {
    const same = await page.evaluate(async () => {
      const sent = Uint8Array.from({ length: 80_000 }, (_, n) => n % 251)
      const [received] = await exchange('/echo', [sent])
      return received instanceof ArrayBuffer && sent.every((byte, n) => byte === new Uint8Array(received)[n])
    })
    assert.ok(same)
  },
  'a message of 1 MiB comes back unchanged': async (page) => {
    const same = await page.evaluate(async (size) => {
      const text = 'ä'.repeat(size / 2)
      const sent = new Uint8Array(size).fill(7)
      const [first, second] = await exchange('/echo', [text, sent])
      return first === text && second.byteLength === size && new Uint8Array(second).every((byte) => byte === 7)
    }, MIB)
    assert.ok(same)
  },
  'a message over 1 MiB closes 1009': async (page) => {
    const end = await page.evaluate((size) => ending('/echo', (socket) => socket.send(new Uint8Array(size + 1))), MIB)
    assert.equal(end.code, 1009)
  },
  'JSON is read and answered': async (page) => {
    const value = { name: 'Zoë', tags: [1, 2.5, null, true] }
    const [answer] = await page.evaluate((text) => exchange('/json', [text]), JSON.stringify(value))
    assert.deepEqual(JSON.parse(answer), { received: value })
  },
  'broken JSON closes 1007': async (page) => {
    const end = await page.evaluate(() => ending('/json', (socket) => socket.send('{broken')))
    assert.equal(end.code, 1007)
  },
  'the server closes with code and reason': async (page) => {
    for (const [code, reason] of [[1000, 'done'], [1008, 'Unauthorized'], [4321, 'grüße']]) {
      const path = `/close?code=${code}&reason=${encodeURIComponent(reason)}`
      const end = await page.evaluate((path) => ending(path), path)
      assert.deepEqual(end, { opened: true, clean: true, code, reason })
    }
  },
  'the code of the client comes back': async (page) => {
    for (const code of [1000, 3000, 4999]) {
      const end = await page.evaluate((code) => ending('/echo', (socket) => socket.close(code, 'bye')), code)
      assert.equal(end.code, code)
      assert.ok(end.clean)
    }
  },
  'the server picks its subprotocol': async (page) => {
    const protocol = await page.evaluate(async () => {
      const socket = await connected('/subprotocol', ['v1.nexios', 'v2.nexios'])
      socket.close()
      return socket.protocol
    })
    assert.equal(protocol, 'v2.nexios')
  },
  // A page is told nothing of the answer, only that there is no connection.
  'a handshake that is not accepted never opens': async (page) => {
    for (const path of ['/refuse', '/reject', '/nowhere']) {
      const end = await page.evaluate((path) => ending(path), path)
      assert.deepEqual(end, { opened: false, clean: false, code: 1006, reason: '' })
    }
  },
  'the developer is told of the answer': async (page) => {
    const session = await page.context().newCDPSession(page)
    await session.send('Network.enable')
    // Chromium has its own words for 401: it would need a user to ask.
    for (const [path, words] of [['/refuse', /403/], ['/reject', /Authentication failed/], ['/nowhere', /404/]]) {
      const error = new Promise((resolve) => session.once('Network.webSocketFrameError', resolve))
      await page.evaluate((path) => ending(path), path)
      assert.match((await error).errorMessage, words)
    }
  },
  'similar messages come back unchanged': async (page) => {
    const texts = Array.from({ length: 200 }, (_, n) => JSON.stringify({ n, words: Array(300).fill('visitor') }))
    assert.deepEqual(await page.evaluate((texts) => exchange('/echo', texts), texts), texts)
  },
  'what the server is set to is agreed on': async (page) => {
    const extensions = await page.evaluate(async () => {
      const socket = await connected('/echo')
      socket.close()
      return socket.extensions
    })
    assert.equal(extensions, AGREED[setting])
  },
}

/** What the checks use in the page. */
function inPage() {
  const open = (path, protocols) => {
    const socket = new WebSocket(`ws://${location.host}${path}`, protocols)
    socket.binaryType = 'arraybuffer'
    return socket
  }
  window.connected = (path, protocols) =>
    new Promise((resolve, reject) => {
      const socket = open(path, protocols)
      socket.onopen = () => resolve(socket)
      socket.onerror = () => reject(new Error(`no connection to ${path}`))
    })
  window.exchange = async (path, messages) => {
    const socket = await window.connected(path)
    const answers = []
    for (const message of messages) {
      const answer = new Promise((resolve) => (socket.onmessage = (event) => resolve(event.data)))
      socket.send(message)
      answers.push(await answer)
    }
    socket.close()
    return answers
  }
  window.ending = (path, act = () => {}) =>
    new Promise((resolve) => {
      const socket = open(path)
      let opened = false
      socket.onopen = () => {
        opened = true
        act(socket)
      }
      socket.onclose = ({ wasClean, code, reason }) => resolve({ opened, clean: wasClean, code, reason })
    })
}

const browser = await launch()
const page = await browser.newPage()
await page.addInitScript(inPage)
await page.goto(`http://127.0.0.1:${port}/`)
const passed = await run(checks, page)
await browser.close()
process.exit(passed ? 0 : 1)
