// Opens pages in Chromium, notes what they complain of, waits for what they show, and takes pictures.
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'

import { launch } from '../chromium.mjs'

export const DESKTOP = { width: 1100, height: 720 }
export const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }

export class Pages {
  /** What any page logged as an error, but for connecting while a check had taken it off the net. */
  errors = []

  static async launch(screenshots, args = []) {
    mkdirSync(screenshots, { recursive: true })
    const pages = new Pages()
    pages.screenshots = screenshots
    pages.browser = await launch(args)
    return pages
  }

  /** A page in a browser context (cookies, storage) of its own. */
  async open(who, url, options) {
    return this.openIn(await this.browser.newContext({ viewport: DESKTOP, ...options }), who, url)
  }

  async openIn(context, who, url) {
    const page = await context.newPage()
    page.setDefaultTimeout(10_000)
    page.on('pageerror', (error) => this.errors.push(`${who}: ${error}`))
    page.on('console', (line) => {
      const isOffline = line.text().includes('ERR_INTERNET_DISCONNECTED')
      if (line.type() === 'error' && !isOffline) this.errors.push(`${who}: ${line.text()}`)
    })
    await page.goto(url)
    return page
  }

  async picture(page, name) {
    // Animations of what has just arrived have ended by then.
    await page.waitForTimeout(400)
    await page.screenshot({ path: `${this.screenshots}/${name}.png` })
  }

  close() {
    return this.browser.close()
  }
}

/** Without a number of seconds, longer than the grace of those who were lost. */
export async function until(what, holds, seconds = 12) {
  const deadline = Date.now() + seconds * 1000
  while (Date.now() < deadline) {
    if (await holds()) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  assert.fail(`not within ${seconds} s: ${typeof what === 'string' ? what : what()}`)
}

export async function fitsItsWindow(page) {
  const overhang = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
  assert.ok(overhang <= 0, `the page is ${overhang} px wider than the window`)
}
