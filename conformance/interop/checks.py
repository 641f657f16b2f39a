"""Runs the checks of a script one after the other, each with its own deadline."""
import asyncio
import traceback

DEADLINE = 30


def run(checks, *arguments):
    """-> the exit code. A check is a coroutine function named after the behaviour that it shows."""
    return asyncio.run(_run(checks, arguments))


async def _run(checks, arguments):
    failed = 0
    for check in checks:
        name = check.__name__.replace("_", " ")
        try:
            await asyncio.wait_for(check(*arguments), DEADLINE)
            print(f"ok {name}", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
    print(f"{len(checks) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0
