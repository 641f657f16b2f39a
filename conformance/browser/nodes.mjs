// Two nodes of the chat example, joined through Redis or NATS, with pages on each: the engine is killed and started again,
// a node is killed and started again. usage: node nodes.mjs CHAT_PROGRAM redis|nats SCREENSHOT_FOLDER
import assert from 'node:assert/strict'

import { run } from '../interop/checks.mjs'
import { DESKTOP, PHONE, Pages, fitsItsWindow, until } from './pages.mjs'
import { engine as startEngine, node } from './programs.mjs'
import { enter, gaps, join, notices, reads, say, sees, texts } from './room.mjs'

const [program, kind, screenshots] = process.argv.slice(2)
const engine = await startEngine(kind)
const one = await node('one', program, [`--${kind}`, engine.url])
const two = await node('two', program, [`--${kind}`, engine.url])
const pages = await Pages.launch(screenshots)
const people = {}
/** When the node was killed. */
let killed

const checks = {
  'two people on two nodes see each other': async () => {
    people.ada = await join(pages, one.url, 'Ada', { colorScheme: 'light', viewport: DESKTOP })
    people.bob = await join(pages, two.url, 'Bob', { colorScheme: 'dark', viewport: DESKTOP })
    await everyoneSees('Ada', 'Bob')
    await until('Ada is told of Bob', async () => (await notices(people.ada)).includes('Bob joined'))
  },
  'what is said on one node is read on both': async () => {
    await say(people.ada, 'Hello from the first node.')
    await reads(people, 'Ada', 'Hello from the first node.')
    await say(people.bob, 'Hello from the second.')
    await reads(people, 'Bob', 'Hello from the second.')
  },
  'both nodes show it in the same order': async () => {
    const several = async (page, who) => {
      for (const n of [1, 2, 3, 4, 5]) await say(page, `${who}: ${n}`)
    }
    await Promise.all([several(people.ada, 'first'), several(people.bob, 'second')])
    await reads(people, 'Ada', 'first: 5')
    await reads(people, 'Bob', 'second: 5')
    assert.deepEqual(await texts(people.ada), await texts(people.bob))
  },
  'one who joins late on the other node reads what was said, and is seen': async () => {
    people.carol = await join(pages, one.url, 'Carol', { colorScheme: 'light', ...PHONE })
    await everyoneSees('Ada', 'Bob', 'Carol')
    assert.deepEqual(await texts(people.carol), await texts(people.ada))
  },
  'one who goes to the other node was never gone, and reads there what was said': async () => {
    const before = await notices(people.bob)
    const said = await texts(people.ada)
    await people.ada.goto(two.url)
    await enter(people.ada, 'Ada')
    await everyoneSees('Ada', 'Bob', 'Carol')
    assert.deepEqual(await texts(people.ada), said)
    // Were she not known to be there, she would be gone when the 5 s of grace are over.
    await people.ada.waitForTimeout(6000)
    assert.deepEqual(await notices(people.bob), before)
    await people.ada.goto(one.url)
    await everyoneSees('Ada', 'Bob', 'Carol')
    await say(people.ada, 'Back on the first.')
    await reads(people, 'Ada', 'Back on the first.')
  },
  'without the engine each node goes on for itself, and says that it is not ready': async () => {
    await engine.kill()
    await until('both are unready', async () => (await isReady(one)) === false && (await isReady(two)) === false)
    const reason = await fetch(`${one.url}readyz`).then((answer) => answer.text())
    assert.match(reason, new RegExp(`backplane: ${kind} is away`))
    await say(people.ada, 'Only the first node hears this now.')
    await reads({ ada: people.ada, carol: people.carol }, 'Ada', 'Only the first node hears this now.')
    await say(people.bob, 'Only the second node hears this now.')
    await reads({ bob: people.bob }, 'Bob', 'Only the second node hears this now.')
    assert.ok(!(await texts(people.bob)).some((text) => text.includes('Only the first')))
  },
  'when it is back, both read each other again': async () => {
    await engine.start()
    await until('both are ready', async () => (await isReady(one)) && (await isReady(two)))
    await say(people.ada, 'Is anybody there?')
    await reads(people, 'Ada', 'Is anybody there?')
    await say(people.bob, 'Everybody is.')
    await reads(people, 'Bob', 'Everybody is.')
    await everyoneSees('Ada', 'Bob', 'Carol')
  },
  'who may have missed something is told so, and can have it': async () => {
    await pages.picture(people.ada, `nodes-${kind}-gap-light`)
    await pages.picture(people.bob, `nodes-${kind}-gap-dark`)
    await pages.picture(people.carol, `nodes-${kind}-gap-phone`)
    await people.carol.emulateMedia({ colorScheme: 'dark' })
    await pages.picture(people.carol, `nodes-${kind}-gap-phone-dark`)
    for (const page of Object.values(people)) await fitsItsWindow(page)
    for (const [name, other] of [['ada', 'second'], ['carol', 'second'], ['bob', 'first']]) {
      const page = people[name]
      const missed = `Only the ${other} node hears this now.`
      const isMissing = !(await texts(page)).some((text) => text.includes(missed))
      const told = await gaps(page).count()
      console.log(`  ${name} ${isMissing ? 'missed' : 'has'} what was said elsewhere, and was told of ${told} gaps`)
      if (isMissing) assert.ok(told > 0, `${name} misses «${missed}» and was not told`)
      if (told > 0) await gaps(page).last().getByRole('button').click()
    }
    await reads(people, 'Ada', 'Only the first node hears this now.')
    await reads(people, 'Bob', 'Only the second node hears this now.')
    assert.deepEqual(await texts(people.ada), await texts(people.bob))
    assert.deepEqual(await texts(people.ada), await texts(people.carol))
    assert.equal(await gaps(people.ada).count(), 0)
    await everyoneSees('Ada', 'Bob', 'Carol')
  },
  'nobody was told that somebody left who was there all the time': async () => {
    for (const page of Object.values(people)) {
      assert.deepEqual((await notices(page)).filter((line) => line.endsWith(' left')), [])
    }
  },
  'a page whose node was killed says so, and the others go on': async () => {
    await two.kill()
    killed = Date.now()
    await people.bob.getByText('Reconnecting…').waitFor()
    await pages.picture(people.bob, `nodes-${kind}-reconnecting-dark`)
    await say(people.ada, 'Where is Bob?')
    await reads({ ada: people.ada, carol: people.carol }, 'Ada', 'Where is Bob?')
  },
  'a person whose node was killed is gone within 30 s': async () => {
    const left = 30 - (Date.now() - killed) / 1000
    await sees(people.ada, ['Ada', 'Carol'], left)
    console.log(`  gone after ${((Date.now() - killed) / 1000).toFixed(1)} s`)
    await sees(people.carol, ['Ada', 'Carol'])
    assert.ok((await notices(people.ada)).includes('Bob left'))
  },
  'and is back with the node, with all that was said meanwhile': async () => {
    await two.start()
    // His page has tried for so long that it pauses for up to 20 s.
    await reads(people, 'Ada', 'Where is Bob?', 25)
    await everyoneSees('Ada', 'Bob', 'Carol')
    assert.equal(await gaps(people.bob).count(), 0)
    assert.deepEqual(await texts(people.bob), await texts(people.ada))
  },
  'who was on a node that is stopped in order, and does not come back, is soon gone': async () => {
    await two.stop()
    await sees(people.ada, ['Ada', 'Carol'])
  },
  'no page logged an error': async () => {
    // But of its own attempts to reach a node that was down.
    const others = pages.errors.filter((error) => !/WebSocket connection to .* failed/.test(error))
    assert.deepEqual(others, [])
  },
}

async function everyoneSees(...names) {
  for (const page of Object.values(people)) await sees(page, names)
}

function isReady(server) {
  return fetch(`${server.url}readyz`).then((answer) => answer.ok)
}

const passed = await run(checks)
await pages.close()
process.exit(passed ? 0 : 1)
