// Two Chromium pages chat in one room of the chat example, a third joins late and reads what was said, one is reloaded,
// people leave, and the list of who is here follows. usage: node chat.mjs URL SCREENSHOT_FOLDER
import assert from 'node:assert/strict'

import { run } from '../interop/checks.mjs'
import { DESKTOP, PHONE, Pages, fitsItsWindow, until } from './pages.mjs'
import * as room from './room.mjs'
import { entries, notices, say, sees } from './room.mjs'

const [url, screenshots] = process.argv.slice(2)

const pages = await Pages.launch(screenshots)
const people = {}

const checks = {
  'a visitor is asked for a name and a room': async () => {
    const door = await pages.open('nobody', url, { colorScheme: 'light', viewport: DESKTOP })
    await pages.picture(door, 'join-light')
    await door.context().close()
  },
  'two people in one room see each other': async () => {
    people.ada = await join('Ada', { colorScheme: 'light', viewport: DESKTOP })
    people.bob = await join('Bob', { colorScheme: 'dark', viewport: DESKTOP })
    await everyoneSees('Ada', 'Bob')
    await until('Ada is told of Bob', async () => (await notices(people.ada)).includes('Bob joined'))
  },
  'what one says both read, and who said it': async () => {
    await say(people.ada, 'Hello Bob, nice room.')
    await reads('Ada', 'Hello Bob, nice room.')
    await say(people.bob, 'Grüße aus dem Norden 🙂')
    await reads('Bob', 'Grüße aus dem Norden 🙂')
  },
  'markup in a message is text': async () => {
    await say(people.bob, '<img src=x onerror="document.title=1">')
    await reads('Bob', '<img src=x onerror="document.title=1">')
    assert.equal(await people.ada.locator('[data-testid=messages] img').count(), 0)
  },
  'one who joins late reads what was said, sees who is here, and is seen': async () => {
    people.carol = await join('Carol', { colorScheme: 'light', ...PHONE })
    await everyoneSees('Ada', 'Bob', 'Carol')
    await reads('Ada', 'Hello Bob, nice room.')
    await reads('Bob', 'Grüße aus dem Norden 🙂')
    await say(people.carol, 'Am I late?')
    await reads('Carol', 'Am I late?')
    const texts = await entries(people.carol)
    assert.equal(texts.length, 4)
    assert.match(texts[0], /nice room/)
  },
  'another room hears nothing of it': async () => {
    const dave = await join('Dave', { viewport: DESKTOP }, 'attic')
    await sees(dave, ['Dave'])
    await say(people.ada, 'This stays in the lounge.')
    await reads('Ada', 'This stays in the lounge.')
    assert.equal((await entries(dave)).length, 0)
    await dave.context().close()
    await everyoneSees('Ada', 'Bob', 'Carol')
  },
  'a message that is too long is refused, and the connection goes on': async () => {
    // Past what the field takes; the server counts for itself.
    await people.bob.evaluate(() => document.getElementById('message').removeAttribute('maxlength'))
    await say(people.bob, 'x'.repeat(2001))
    await people.bob.getByText('a message has at most 2000 characters').waitFor()
    await say(people.bob, 'Shorter, then.')
    await reads('Bob', 'Shorter, then.')
  },
  'a reload is no leaving and joining, and shows what was said once': async () => {
    const before = await notices(people.ada)
    await people.bob.reload()
    await sees(people.bob, ['Ada', 'Bob', 'Carol'])
    await reads('Ada', 'Hello Bob, nice room.')
    await say(people.bob, 'Back again.')
    await reads('Bob', 'Back again.')
    // Were he not known to be back, he would be gone when the 5 s of grace are over.
    await people.ada.waitForTimeout(6000)
    assert.deepEqual(await notices(people.ada), before)
  },
  'a second tab of the same name is no second person': async () => {
    const before = await notices(people.ada)
    const tab = await join('Bob', { viewport: DESKTOP })
    await sees(tab, ['Ada', 'Bob', 'Carol'])
    await say(tab, 'From my other tab.')
    await reads('Bob', 'From my other tab.')
    await tab.getByTestId('leave').click()
    await say(people.bob, 'Still here with the first.')
    await reads('Bob', 'Still here with the first.')
    await everyoneSees('Ada', 'Bob', 'Carol')
    assert.deepEqual(await notices(people.ada), before)
    await tab.context().close()
  },
  'one who was cut off comes back by itself and reads what was missed, once': async () => {
    const context = people.ada.context()
    await context.setOffline(true)
    await people.ada.getByText('Reconnecting…').waitFor()
    await say(people.bob, 'Where is Ada?')
    await context.setOffline(false)
    await reads('Bob', 'Where is Ada?')
    await reads('Ada', 'Hello Bob, nice room.')
    await everyoneSees('Ada', 'Bob', 'Carol')
    assert.ok(!(await notices(people.bob)).some((line) => line.startsWith('Ada')))
  },
  'it looks the same in light, in dark and on a phone': async () => {
    await pages.picture(people.ada, 'chat-light')
    await pages.picture(people.bob, 'chat-dark')
    await pages.picture(people.carol, 'chat-phone')
    await people.carol.emulateMedia({ colorScheme: 'dark' })
    await pages.picture(people.carol, 'chat-phone-dark')
    for (const page of Object.values(people)) await fitsItsWindow(page)
  },
  'one who leaves is gone from the list at once': async () => {
    await people.bob.getByTestId('leave').click()
    delete people.bob
    await everyoneSees('Ada', 'Carol')
    await until('Ada is told of it', async () => (await notices(people.ada)).includes('Bob left'))
  },
  'one whose page closes is gone from the list after the grace': async () => {
    await people.carol.context().close()
    delete people.carol
    await everyoneSees('Ada')
  },
  'no page logged an error': async () => {
    assert.deepEqual(pages.errors, [])
  },
}

function join(name, options, where) {
  return room.join(pages, url, name, options, where)
}

function reads(sender, text) {
  return room.reads(people, sender, text)
}

async function everyoneSees(...names) {
  for (const page of Object.values(people)) await sees(page, names)
}

const passed = await run(checks)
await pages.close()
process.exit(passed ? 0 : 1)
