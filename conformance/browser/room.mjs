// The page of the chat example, as its visitors use it.
import { DESKTOP, until } from './pages.mjs'

/** Opens the page, gives a name and a room, and joins. */
export async function join(pages, url, name, options = { viewport: DESKTOP }, room = 'lounge') {
  const page = await pages.open(name, url, options)
  await enter(page, name, room)
  return page
}

/** Joins on a page that shows the lobby. */
export async function enter(page, name, room = 'lounge') {
  await page.getByTestId('name').fill(name)
  await page.getByTestId('room').fill(room)
  await page.getByTestId('join').click()
}

export async function say(page, text) {
  await page.getByTestId('message').fill(text)
  await page.getByTestId('message').press('Enter')
}

/** Each of these people has the message, with its sender, and has it once. */
export async function reads(people, sender, text, seconds) {
  for (const [reader, page] of Object.entries(people)) {
    await until(`${reader} reads «${text}» of ${sender}`, async () => {
      const found = (await entries(page)).filter((entry) => entry.includes(text))
      return found.length === 1 && found[0].includes(sender)
    }, seconds)
  }
}

/** The list of who is here has these names and no others. */
export async function sees(page, names, seconds) {
  let shown
  await until(() => `the list is ${names}, it shows ${shown}`, async () => {
    shown = await page.getByTestId('people').locator('li').allInnerTexts()
    return shown.length === names.length && names.every((name) => shown.some((text) => text.includes(name)))
  }, seconds)
}

export function entries(page) {
  return page.getByTestId('messages').getByTestId('entry').allInnerTexts()
}

/** What was said, without by whom and when. */
export function texts(page) {
  return page.evaluate(() => [...document.querySelectorAll('.bubble')].map((bubble) => bubble.firstChild.textContent))
}

/** The lines that tell who came and went. */
export function notices(page) {
  return page.getByTestId('messages').locator('.notice').allInnerTexts()
}

/** The lines that tell where something may be missing. */
export function gaps(page) {
  return page.getByTestId('gap')
}
