// Chromium speaks HTTP/2 over TLS with the https example: the sockets of two pages share its connection.
// usage: node http2.mjs URL SCREENSHOT_FOLDER
import assert from 'node:assert/strict'

import { run } from '../interop/checks.mjs'
import { Pages, until } from './pages.mjs'

const [url, screenshots] = process.argv.slice(2)

const pages = await Pages.launch(screenshots, ['--ignore-certificate-errors'])
// One context for both: pages of different contexts have connections of their own.
const context = await pages.browser.newContext({ ignoreHTTPSErrors: true })
let first, second, connection

const checks = {
  'the page comes over HTTP/2': async () => {
    first = await pages.openIn(context, 'first', url)
    assert.equal(await protocol(first), 'h2')
  },
  'its sockets are HTTP/2 as well, and share one connection': async () => {
    const greetings = await shown(first)
    assert.equal(new Set(greetings).size, 1, greetings.join())
    assert.match(greetings[0], /^HTTP\/2\.0 from /)
    connection = greetings[0]
    await pages.picture(first, 'http2')
  },
  'another page shares the connection, too': async () => {
    second = await pages.openIn(context, 'second', url)
    assert.equal(await protocol(second), 'h2')
    assert.deepEqual(await shown(second), Array(4).fill(connection))
  },
  'messages of every size come back, compressed': async () => {
    const { extensions, greeting, sizes } = await second.evaluate(echo)
    assert.match(extensions, /^permessage-deflate/)
    assert.equal(greeting, connection)
    assert.deepEqual(sizes, [0, 1, 1000, 100_000, 900_000])
  },
  'a hundred sockets at once share the connection': async () => {
    const greetings = await second.evaluate(many, 100)
    assert.deepEqual([...new Set(greetings)], [connection])
  },
  'a page that is reloaded leaves the sockets of the others alone': async () => {
    await second.evaluate(keep)
    await first.reload()
    assert.deepEqual(await shown(first), Array(4).fill(connection))
    assert.deepEqual(await second.evaluate(stillThere), { state: 1, answer: 'still here?' })
    assert.deepEqual(await shown(second), Array(4).fill(connection))
  },
  'ordinary requests go on beside them': async () => {
    assert.equal(await second.evaluate(() => fetch('/').then((response) => response.status)), 200)
    assert.equal(await second.evaluate(() => fetch('/ws').then((response) => response.status)), 400)
    // What the page itself just asked for in vain.
    pages.errors = pages.errors.filter((line) => !line.includes('status of 400'))
  },
  'no page logged an error': async () => {
    assert.deepEqual(pages.errors, [])
  },
}

/** What the page itself came over. */
function protocol(page) {
  return page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol)
}

/** What the page's four sockets were greeted with. */
async function shown(page) {
  let lines
  await until(() => `four greetings, there are ${lines}`, async () => {
    lines = await page.locator('#sockets li').allInnerTexts()
    return lines.length === 4 && lines.every((line) => line.includes(' from '))
  })
  return lines
}

// ---- in the page

function echo() {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://${location.host}/ws`)
    const wanted = [0, 1, 1000, 100_000, 900_000]
    const sizes = []
    let greeting
    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`))
    socket.onmessage = ({ data }) => {
      if (greeting === undefined) greeting = data
      else if (data === 'ab'.repeat(wanted[sizes.length] / 2) || data === 'a') sizes.push(data.length)
      if (sizes.length === wanted.length) resolve({ extensions: socket.extensions, greeting, sizes })
      else socket.send(wanted[sizes.length] === 1 ? 'a' : 'ab'.repeat(wanted[sizes.length] / 2))
    }
  })
}

function many(count) {
  return Promise.all(Array.from({ length: count }, () => new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://${location.host}/ws`)
    socket.onmessage = ({ data }) => {
      socket.onclose = () => resolve(data)
      socket.close(1000)
    }
    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`))
  })))
}

function keep() {
  return new Promise((resolve) => {
    window.kept = new WebSocket(`wss://${location.host}/ws`)
    window.kept.onmessage = () => resolve()
  })
}

function stillThere() {
  return new Promise((resolve) => {
    window.kept.onmessage = ({ data }) => resolve({ state: window.kept.readyState, answer: data })
    window.kept.send('still here?')
  })
}

const passed = await run(checks)
await pages.close()
process.exit(passed ? 0 : 1)
