// Two Chromium pages chat in one room of the chat example, a third joins late, people leave, and the list of who is
// here follows. usage: node chat.mjs URL SCREENSHOT_FOLDER
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'

import { launch } from '../chromium.mjs'
import { run } from '../interop/checks.mjs'

const [url, screenshots] = process.argv.slice(2)
const ROOM = 'lounge'
const DESKTOP = { width: 1100, height: 720 }
const PHONE = { width: 390, height: 844 }

const browser = await launch()
const people = {}
const errors = []

const checks = {
  'two people in one room see each other': async () => {
    people.ada = await join('Ada', { colorScheme: 'light', viewport: DESKTOP })
    people.bob = await join('Bob', { colorScheme: 'dark', viewport: DESKTOP })
    await everyoneSees('Ada', 'Bob')
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
  'one who joins late sees who is here, and is seen': async () => {
    people.carol = await join('Carol', { colorScheme: 'light', viewport: PHONE, isMobile: true, hasTouch: true })
    await everyoneSees('Ada', 'Bob', 'Carol')
    await say(people.carol, 'Am I late?')
    await reads('Carol', 'Am I late?')
  },
  'another room hears nothing of it': async () => {
    const dave = await join('Dave', { viewport: DESKTOP }, 'attic')
    await sees(dave, ['Dave'])
    await say(people.ada, 'This stays in the lounge.')
    await reads('Ada', 'This stays in the lounge.')
    assert.doesNotMatch((await entries(dave)).join('\n'), /lounge/)
    await dave.context().close()
    await everyoneSees('Ada', 'Bob', 'Carol')
  },
  'it looks the same in light, in dark and on a phone': async () => {
    await picture(people.ada, 'chat-light')
    await picture(people.bob, 'chat-dark')
    await picture(people.carol, 'chat-phone')
    await people.carol.emulateMedia({ colorScheme: 'dark' })
    await picture(people.carol, 'chat-phone-dark')
    for (const page of Object.values(people)) {
      const overhang = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
      assert.ok(overhang <= 0, `the page is ${overhang} px wider than the window`)
    }
  },
  'one who leaves is gone from the list': async () => {
    await people.bob.getByTestId('leave').click()
    delete people.bob
    await everyoneSees('Ada', 'Carol')
  },
  'one whose page closes is gone from the list': async () => {
    await people.carol.context().close()
    delete people.carol
    await everyoneSees('Ada')
  },
  'no page logged an error': async () => {
    assert.deepEqual(errors, [])
  },
}

async function join(name, options, room = ROOM) {
  const page = await (await browser.newContext(options)).newPage()
  page.setDefaultTimeout(10_000)
  page.on('pageerror', (error) => errors.push(`${name}: ${error}`))
  page.on('console', (line) => line.type() === 'error' && errors.push(`${name}: ${line.text()}`))
  await page.goto(url)
  await page.getByTestId('name').fill(name)
  await page.getByTestId('room').fill(room)
  if (name === 'Ada') await picture(page, 'join-light')
  await page.getByTestId('join').click()
  return page
}

async function say(page, text) {
  await page.getByTestId('message').fill(text)
  await page.getByTestId('message').press('Enter')
}

/** Everyone in the room has the message, with its sender, and has it once. */
async function reads(sender, text) {
  for (const [reader, page] of Object.entries(people)) {
    await until(`${reader} reads «${text}» of ${sender}`, async () => {
      const found = (await entries(page)).filter((entry) => entry.includes(text))
      return found.length === 1 && found[0].includes(sender)
    })
  }
}

async function everyoneSees(...names) {
  for (const page of Object.values(people)) await sees(page, names)
}

async function sees(page, names) {
  let shown
  await until(() => `the list is ${names}, it shows ${shown}`, async () => {
    shown = await page.getByTestId('people').locator('li').allInnerTexts()
    return shown.length === names.length && names.every((name) => shown.some((text) => text.includes(name)))
  })
}

function entries(page) {
  return page.getByTestId('messages').getByTestId('entry').allInnerTexts()
}

async function until(what, holds) {
  for (let tries = 0; tries < 100; tries += 1) {
    if (await holds()) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  assert.fail(`not within 5 s: ${typeof what === 'string' ? what : what()}`)
}

async function picture(page, name) {
  // Animations of what has just arrived have ended by then.
  await page.waitForTimeout(400)
  await page.screenshot({ path: `${screenshots}/${name}.png` })
}

mkdirSync(screenshots, { recursive: true })
const passed = await run(checks)
await browser.close()
process.exit(passed ? 0 : 1)
