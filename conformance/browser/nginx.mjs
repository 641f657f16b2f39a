// Three nodes of the chat example behind nginx, with the configuration of the guide: only its addresses are others here.
// Each node is killed, and then stopped in order, while people talk. usage: node nginx.mjs CHAT_PROGRAM NGINX_CONF SCREENSHOTS
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join as path } from 'node:path'

import { run } from '../interop/checks.mjs'
import { Pages, until } from './pages.mjs'
import { Program, engine as startEngine, folder, freePort, node } from './programs.mjs'
import { gaps, join, notices, reads, say, sees, texts } from './room.mjs'

const [program, configuration, screenshots] = process.argv.slice(2)
const engine = await startEngine('redis')
const nodes = []
for (const name of ['chat-1', 'chat-2', 'chat-3']) nodes.push(await node(name, program, ['--redis', engine.url]))
const nginx = await startNginx()
const pages = await Pages.launch(screenshots)
const people = {}
const NAMES = ['Ada', 'Bob', 'Carol', 'Dave', 'Eve', 'Fay']
let said = 0
/** When the last node had ended. */
let ended

const checks = {
  'people who come to one address see each other, whichever node they are on': async () => {
    for (const name of NAMES) people[name] = await join(pages, nginx.url, name)
    await everyoneSees()
    await talk(5)
  },
  'what nodes tell their operators stays inside': async () => {
    for (const page of ['healthz', 'readyz', 'metrics']) {
      assert.equal(await fetch(nginx.url + page).then((answer) => answer.status), 404, page)
    }
  },
  ...eachNode('is killed, those on it are soon on another and have missed nothing', (one) => one.kill()),
  // 20 s, and at most 5 more.
  'when the nodes that were killed count as gone, nobody was told that somebody left who was soon back': () => {
    return nobodyLeft(26_000)
  },
  ...eachNode('is replaced by a new one in order, nobody misses anything', (one) => one.stop()),
  'when those that were stopped count as gone, nobody was told that somebody left who was soon back': () => {
    return nobodyLeft(12_000)
  },
  'nobody was told of a gap': async () => {
    for (const page of Object.values(people)) assert.equal(await gaps(page).count(), 0)
  },
  'all of them had read all of it once, in the same order': async () => {
    const expected = Array.from({ length: said }, (_, n) => `message ${n + 1}.`)
    for (const page of Object.values(people)) assert.deepEqual(await texts(page), expected)
  },
  'nginx always knew somebody to ask': () => {
    assert.deepEqual(log().filter((line) => line.includes('no live upstreams')), [])
  },
  'every node had people, though all came from one address': async () => {
    for (const page of Object.values(people)) await page.context().close()
    await until('nginx has logged all WebSockets', () => upgrades().length >= NAMES.length)
    for (const { name, port } of nodes) {
      const count = upgrades().filter((line) => line.includes(`127.0.0.1:${port} `)).length
      console.log(`  ${name}: ${count} of ${upgrades().length} WebSockets`)
      assert.ok(count > 0, name)
    }
  },
}

/** The node is away for a moment, while people talk. */
function eachNode(what, end) {
  return Object.fromEntries(nodes.map((one) => [`when ${one.name} ${what}`, async () => {
    await end(one)
    ended = Date.now()
    // By then its clients have noticed.
    await new Promise((resolve) => setTimeout(resolve, 500))
    await Promise.all(Object.values(people).map(connected))
    console.log(`  all are connected ${((Date.now() - ended) / 1000).toFixed(1)} s after its end`)
    await talk(3)
    await one.start()
    await talk(3)
    await everyoneSees()
  }]))
}

/** Different people say something, and everybody reads it once. */
async function talk(times) {
  for (let n = 0; n < times; n += 1) {
    const name = NAMES[said % NAMES.length]
    said += 1
    await say(people[name], `message ${said}.`)
    await reads(people, name, `message ${said}.`)
  }
}

/** Nobody was told so, so many milliseconds after the last node's end. */
async function nobodyLeft(after) {
  await people.Ada.waitForTimeout(after - (Date.now() - ended))
  for (const page of Object.values(people)) {
    assert.deepEqual((await notices(page)).filter((line) => line.endsWith(' left')), [])
  }
}

async function everyoneSees() {
  for (const page of Object.values(people)) await sees(page, NAMES)
}

/** Whoever lost their connection has another. */
function connected(page) {
  return until('connected', () => page.evaluate(() => stay?.joined && stay.socket.readyState === WebSocket.OPEN))
}

function upgrades() {
  return log().filter((line) => line.includes('"GET /chat/') && line.includes(' 101 '))
}

function log() {
  return readFileSync(nginx.log, 'utf8').split('\n')
}

async function startNginx() {
  const port = await freePort()
  let text = readFileSync(configuration, 'utf8').replace('listen 80;', `listen 127.0.0.1:${port};`)
  for (const { name, port: at } of nodes) text = text.replace(`${name}:8000`, `127.0.0.1:${at}`)
  // Its packages have folders of their own for these, which only root may use.
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`)
  text = text.replace('http {', `http {\n${folders.join('\n')}`)
  const file = path(folder, 'nginx.conf')
  writeFileSync(file, text)
  const url = `http://127.0.0.1:${port}/`
  const args = ['-p', folder, '-c', file, '-e', 'stderr', '-g', `daemon off; pid ${folder}/nginx.pid;`]
  const answers = () => fetch(url).then((answer) => answer.ok, () => false)
  return Object.assign(await new Program('nginx', 'nginx', args, { answers }).start(), { url })
}

const passed = await run(checks)
await pages.close()
await nginx.stop()
process.exit(passed ? 0 : 1)
