// The notifications example in Chromium: pages are reloaded, closed and opened again, the server is killed and started
// again. usage: node notifications.mjs SERVER_PROGRAM PORT SCREENSHOT_FOLDER
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'

import { run } from '../interop/checks.mjs'
import { DESKTOP, PHONE, Pages, fitsItsWindow, until } from './pages.mjs'

const [program, port, screenshots] = process.argv.slice(2)
const url = `http://127.0.0.1:${port}/`

let server = await start()
const pages = await Pages.launch(screenshots)
/** The browsers of two people, with what they keep between visits. */
const browsers = {}
const open = {}

const checks = {
  'who is online sees who else is': async () => {
    open.ann = await visit('ann', { colorScheme: 'light' })
    open.bob = await visit('bob', { colorScheme: 'dark' })
    await sees(open.ann, 'ann', 'bob')
    await sees(open.bob, 'ann', 'bob')
  },
  'what one sends the other is shown, and nobody else': async () => {
    await open.bob.getByRole('button', { name: 'ann' }).click()
    assert.equal(await open.bob.getByTestId('to').inputValue(), 'ann')
    await open.bob.getByTestId('text').fill('<b>Lunch</b> at one?')
    await open.bob.getByTestId('text').press('Enter')
    await open.bob.getByText('Sent to ann').waitFor()
    await shows(open.ann, ['<b>Lunch</b> at one?'])
    await shows(open.bob, [])
  },
  'a reload loses nothing and doubles nothing': async () => {
    await notify('ann', 'Your parcel is at the door')
    await shows(open.ann, ['<b>Lunch</b> at one?', 'Your parcel is at the door'])
    await open.ann.reload()
    await connected(open.ann)
    await shows(open.ann, ['<b>Lunch</b> at one?', 'Your parcel is at the door'])
    // A reload in the midst of what arrives.
    const expected = ['<b>Lunch</b> at one?', 'Your parcel is at the door']
    for (let n = 1; n <= 30; n += 1) {
      await notify('ann', `Step ${n} of 30 is done`)
      expected.push(`Step ${n} of 30 is done`)
      if (n % 10 === 5) await open.ann.reload()
    }
    await shows(open.ann, expected)
    await sees(open.bob, 'ann', 'bob')
  },
  'what came while the page was closed is there when it opens: all of it, once, in order': async () => {
    const before = await texts(open.ann)
    await open.ann.close()
    // A page that closes may still take what comes meanwhile.
    await sees(open.bob, 'bob')
    const missed = ['one', 'two', 'three', 'four', 'five'].map((word) => `Number ${word}`)
    for (const text of missed) await notify('ann', text)
    open.ann = await pages.openIn(browsers.ann, 'ann', `${url}#ann`)
    await open.ann.getByText('5 new since you were last connected').waitFor()
    await shows(open.ann, [...before, ...missed])
    await open.ann.reload()
    await connected(open.ann)
    await shows(open.ann, [...before, ...missed])
  },
  'what came before the first visit is there as well': async () => {
    await notify('carol', 'Welcome, Carol')
    open.carol = await visit('carol', { colorScheme: 'light', ...PHONE })
    await shows(open.carol, ['Welcome, Carol'])
    assert.ok(await open.carol.getByTestId('tidings').isHidden())
  },
  'three tabs are one person and show the same': async () => {
    const tabs = [await pages.openIn(browsers.bob, 'bob', `${url}#bob`), await pages.openIn(browsers.bob, 'bob', `${url}#bob`)]
    for (const tab of tabs) await sees(tab, 'ann', 'bob', 'carol')
    await sees(open.ann, 'ann', 'bob', 'carol')
    await notify('bob', 'To all your tabs')
    for (const tab of [open.bob, ...tabs]) await shows(tab, ['To all your tabs'])
    for (const tab of tabs) await tab.close()
    await open.bob.reload()
    await connected(open.bob)
    await shows(open.bob, ['To all your tabs'])
    await sees(open.ann, 'ann', 'bob', 'carol')
  },
  'one who was cut off comes back by itself': async () => {
    await browsers.bob.setOffline(true)
    await open.bob.getByText('Reconnecting…').waitFor()
    await notify('bob', 'Are you there?')
    await browsers.bob.setOffline(false)
    await shows(open.bob, ['To all your tabs', 'Are you there?'])
  },
  'what cannot be sent is told': async () => {
    await open.bob.getByTestId('to').fill('')
    await open.bob.getByTestId('send').click()
    await open.bob.getByText('please fill in both fields').waitFor()
    assert.equal(await post({ from: 'cron', to: 'x'.repeat(25), text: 'hello' }), 422)
    assert.equal(await post({ from: 'cron', to: 'ann', text: '' }), 422)
  },
  'it looks well in light, in dark and on a phone': async () => {
    for (const text of ['The backup of tonight is done', 'Ada asks for your review of “Groups that remember”', 'Your table is reserved for 19:30']) {
      await notify('carol', text, 'cron')
    }
    await notify('bob', 'A rather long notification, to see how more than one line looks in this list: it breaks where it should and the time stays where it is.', 'ann')
    await open.carol.getByTestId('item').getByText('19:30').waitFor()
    await open.bob.getByTestId('item').getByText('A rather long').waitFor()
    await pages.picture(open.ann, 'notifications-light')
    await pages.picture(open.bob, 'notifications-dark')
    await pages.picture(open.carol, 'notifications-phone')
    await open.carol.emulateMedia({ colorScheme: 'dark' })
    await pages.picture(open.carol, 'notifications-phone-dark')
    for (const page of Object.values(open)) await fitsItsWindow(page)
    const door = await pages.open('nobody', url, { viewport: DESKTOP })
    await pages.picture(door, 'notifications-sign-in')
    await door.context().close()
  },
  'who closes the page is gone from the list after the grace': async () => {
    await open.carol.context().close()
    delete open.carol
    await sees(open.ann, 'ann', 'bob')
  },
  'no page logged an error': async () => {
    assert.deepEqual(pages.errors, [])
  },
  'after the server was killed a page says that something may be missing, and goes on': async () => {
    const before = await texts(open.ann)
    await kill()
    await open.ann.getByText('Reconnecting…').waitFor()
    server = await start()
    // Before the page is back: it must come out of the new history.
    await notify('ann', 'First after the restart')
    await open.ann.getByTestId('begun-anew').getByText('the server was started anew').waitFor({ timeout: 15_000 })
    await shows(open.ann, [...before, 'First after the restart'])
    assert.equal(await open.ann.getByText('Some notifications may be missing here').count(), 1)
    await pages.picture(open.ann, 'notifications-begun-anew')
    await notify('ann', 'Second after the restart')
    await shows(open.ann, [...before, 'First after the restart', 'Second after the restart'])
    await open.ann.reload()
    await connected(open.ann)
    assert.ok(await open.ann.getByTestId('begun-anew').isHidden())
    await shows(open.ann, [...before, 'First after the restart', 'Second after the restart'])
  },
}

async function visit(who, options) {
  const page = await pages.open(who, url, options)
  browsers[who] = page.context()
  await page.getByTestId('name').fill(who)
  await page.getByTestId('enter').click()
  await connected(page)
  return page
}

async function connected(page) {
  await page.getByTestId('state').getByText('Connected').waitFor()
}

async function notify(to, text, from = 'cron') {
  assert.equal(await post({ from, to, text }), 204)
}

async function post(body) {
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(`${url}notify`, { method: 'POST', headers, body: JSON.stringify(body) })
  return answer.status
}

/** The page shows these, the oldest first, and no others. */
async function shows(page, expected) {
  let shown
  await until(() => `shown is ${JSON.stringify(shown)}, not ${JSON.stringify(expected)}`, async () => {
    shown = await texts(page)
    return JSON.stringify(shown) === JSON.stringify(expected)
  })
}

async function texts(page) {
  return (await page.getByTestId('item').locator('.text').allInnerTexts()).reverse()
}

async function sees(page, ...names) {
  let shown
  await until(() => `online are ${names}, the page shows ${shown}`, async () => {
    shown = await page.getByTestId('people').locator('bdi').allInnerTexts()
    return JSON.stringify(shown) === JSON.stringify(names)
  })
}

async function start() {
  const child = spawn(program, { env: { ...process.env, NEXIOS_PORT: port }, stdio: ['ignore', 'inherit', 'inherit'] })
  // However this script ends, the server does not outlive it.
  process.on('exit', () => child.kill('SIGKILL'))
  await until('the server answers', () => fetch(url).then((answer) => answer.ok, () => false))
  return child
}

async function kill() {
  const ended = new Promise((resolve) => server.once('exit', resolve))
  server.kill('SIGKILL')
  await ended
}

const passed = await run(checks)
await pages.close()
process.exit(passed ? 0 : 1)
