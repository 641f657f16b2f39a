"""Results of a run: the report of the suite, the summary, and the comparison with what is committed."""
import collections
import json
import os
import time

from cases import numeric

PASSED, PASSED_CLOSE = ("OK", "INFORMATIONAL"), ("OK", "INFORMATIONAL")


def finish(results, wanted, arguments, began):
    """Writes the report and prints the summary; -> the exit code."""
    if arguments.out:
        os.makedirs(arguments.out, exist_ok=True)
        with open(os.path.join(arguments.out, "index.json"), "w") as file:
            json.dump({arguments.agent: results}, file, indent=1, sort_keys=True)
    _print_counts(results, wanted, arguments.agent, time.time() - began)
    wrong = [w for w in wanted if w not in results]
    for case_id in wrong:
        print(f"  MISSING {case_id}: the case did not run")
    for case_id in sorted(results, key=numeric):
        r = results[case_id]
        if r["behavior"] not in PASSED or r["behaviorClose"] not in PASSED_CLOSE:
            wrong.append(case_id)
            print(f"  FAIL {case_id} behavior={r['behavior']} close={r['behaviorClose']} | {r['result']} | {r['resultClose']}")
    if arguments.bless and not wrong:
        _write_expected(arguments.expected, results)
    elif arguments.expected and not os.path.exists(arguments.expected):
        wrong.append(arguments.expected)
        print(f"  nothing to compare with: {os.path.relpath(arguments.expected)} is not there")
    elif arguments.expected:
        wrong += _differences(arguments.expected, results)
    return 1 if wrong else 0


def _print_counts(results, wanted, agent, seconds):
    counts = collections.Counter(r["behavior"] for r in results.values())
    closes = collections.Counter(r["behaviorClose"] for r in results.values())
    print(f"agent {agent}: {len(results)} of {len(wanted)} cases in {seconds:.0f} s")
    for kind in ("OK", "NON-STRICT", "INFORMATIONAL", "FAILED", "UNIMPLEMENTED"):
        print(f"  {kind:<14} {counts.pop(kind, 0)}")
    for kind, count in counts.items():
        print(f"  {kind:<14} {count}")
    print("  close: " + ", ".join(f"{kind} {count}" for kind, count in closes.most_common()))


def _line(case_id, result):
    code = result.get("remoteCloseCode")
    return f"{case_id} {result['behavior']} {result['behaviorClose']} {'-' if code is None else code}"


def _write_expected(path, results):
    """Cases that were not part of this run keep their lines."""
    lines = _read_expected(path) if os.path.exists(path) else {}
    lines.update((case_id, _line(case_id, result)) for case_id, result in results.items())
    with open(path, "w") as file:
        file.write("# case, behaviour, behaviour of the closing handshake, close code that the peer under test sent\n")
        file.writelines(lines[case_id] + "\n" for case_id in sorted(lines, key=numeric))
    print(f"  written: {path}")


def _read_expected(path):
    with open(path) as file:
        lines = [line.strip() for line in file]
    return {line.split()[0]: line for line in lines if line and not line.startswith("#")}


def _differences(path, results):
    expected, differing = _read_expected(path), []
    for case_id in sorted(results, key=numeric):
        found, wanted = _line(case_id, results[case_id]), expected.get(case_id, f"{case_id} is not in {path}")
        if found != wanted:
            differing.append(case_id)
            print(f"  DIFFERS found: {found} | committed: {wanted}")
    if not differing:
        print(f"  as committed in {os.path.relpath(path)}")
    return differing
