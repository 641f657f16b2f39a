// Runs the checks of a script one after the other, each with its own deadline.
const DEADLINE = 30_000

/** `checks` is an object from behaviour to async function. Ends the process with 0 when all went well. */
export async function run(checks, ...args) {
  let failed = 0
  for (const [name, check] of Object.entries(checks)) {
    try {
      await within(DEADLINE, check(...args))
      console.log(`ok ${name}`)
    } catch (error) {
      failed += 1
      console.log(`FAIL ${name}\n${error.stack ?? error}`)
    }
  }
  console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`)
  return failed === 0
}

function within(milliseconds, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no result after ${milliseconds} ms`)), milliseconds)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
