// Programs that a check starts, stops and kills; none outlives the check.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { until } from './pages.mjs'

/** A folder that is removed in the end. */
export const folder = mkdtempSync(join(tmpdir(), 'nexios-browser-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

export class Program {
  /** `answers` is asked until it says that the program is ready. */
  constructor(name, command, args, { env = {}, answers }) {
    Object.assign(this, { name, command, args, env, answers, log: join(folder, `${name}.log`) })
    // However the script ends.
    process.on('exit', () => this.child?.kill('SIGKILL'))
  }

  async start() {
    const log = openSync(this.log, 'a')
    const env = { ...process.env, ...this.env }
    this.child = spawn(this.command, this.args, { env, cwd: folder, stdio: ['ignore', log, log] })
    this.child.on('error', () => {})
    this.ended = new Promise((resolve) => this.child.once('exit', (code) => resolve(code)))
    await until(() => `${this.name} is ready; its log: ${readFileSync(this.log, 'utf8')}`, () => this.answers())
    return this
  }

  /** SIGKILL. */
  async kill() {
    this.child.kill('SIGKILL')
    await this.ended
  }

  /** SIGTERM, after which it has to end with 0. */
  async stop() {
    this.child.kill('SIGTERM')
    assert.equal(await this.ended, 0, this.name)
  }
}

/** Below those that the kernel gives to clients: who tries to reach a server that is down must not be given its port. */
export async function freePort() {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = 12_000 + Math.floor(Math.random() * 20_000)
    const server = createServer()
    const isFree = await new Promise((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => resolve(true))
    })
    await new Promise((resolve) => server.close(resolve))
    if (isFree) return port
  }
  return assert.fail('no free port')
}

/** A server of either kind, with data that survive a kill. */
export async function engine(kind) {
  const port = await freePort()
  const [program, args, greeting] = {
    redis: ['redis-server', ['--bind', '127.0.0.1', '--port', port, '--save', '', '--appendonly', 'yes'], 'PING\r\n'],
    nats: ['nats-server', ['--addr', '127.0.0.1', '--port', port, '--jetstream', '--store_dir', folder], ''],
  }[kind]
  const answers = () => firstLine(port, greeting).then((line) => line.startsWith(kind === 'redis' ? '+PONG' : 'INFO'))
  const started = await new Program(kind, program, args.map(String), { answers }).start()
  return Object.assign(started, { url: `${kind}://127.0.0.1:${port}` })
}

/** A node of the chat, with further arguments. */
export async function node(name, program, args) {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}/`
  const env = { NEXIOS_PORT: String(port) }
  const answers = () => fetch(`${url}readyz`).then((answer) => answer.ok, () => false)
  const started = await new Program(name, program, args, { env, answers }).start()
  return Object.assign(started, { url, port })
}

function firstLine(port, greeting) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(greeting))
    socket.setTimeout(1000, () => socket.destroy())
    socket.once('data', (data) => {
      resolve(data.toString())
      socket.destroy()
    })
    socket.once('error', () => {})
    socket.once('close', () => resolve(''))
  })
}
