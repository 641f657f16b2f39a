"""The case definitions of the Autobahn test suite, on Python 3.

They are not part of this repository: they are read from the released sdist of autobahntestsuite
(Python 2 source), turned into Python 3 in memory, and run over a current autobahn + twisted.

Python 2's byte strings become `str` whose code points are the bytes (latin-1); `raw` turns them
back where they reach autobahn.
"""
import binascii
import fnmatch
import os
import re
import tarfile
import tempfile
import types
import warnings

PACKAGE = "autobahntestsuite"

warnings.filterwarnings("ignore", category=DeprecationWarning)
warnings.filterwarnings("ignore", category=SyntaxWarning)


def load(arguments):
    """-> [(case id, case class)] in numeric order, those that the command line chooses."""
    classes = _Loader(arguments.sdist).load("cases", f"{PACKAGE}/case/__init__.py").Cases
    named = [(".".join(c.__name__[len("Case"):].split("_")), c) for c in classes]
    chosen = [(i, c) for i, c in named if _is_chosen(i, arguments)]
    return sorted(chosen, key=lambda pair: numeric(pair[0]))


def _is_chosen(case_id, arguments):
    wanted = _matches(case_id, arguments.suite) and _matches(case_id, arguments.cases)
    return wanted and not _matches(case_id, arguments.exclude)


def numeric(case_id):
    return [int(part) for part in case_id.split(".")]


def raw(value):
    return value.encode("latin-1") if isinstance(value, str) else value


def _matches(case_id, patterns):
    return any(fnmatch.fnmatchcase(case_id, p) for p in patterns.split(",") if p)


def _normalised(value):
    return tuple(_normalised(v) for v in value) if isinstance(value, (list, tuple)) else raw(value)


class _Loader:
    """Imports the package's modules from memory; its data files go to a temporary folder."""

    def __init__(self, sdist):
        self.data = tempfile.mkdtemp(prefix="autobahn-cases")
        self.sources, self.modules = {}, {}
        self._unpack(sdist)
        self.shims = self._shims()
        case = self.load("case", f"{PACKAGE}/case/case.py")
        case.Case.compare = lambda self, a, b: _normalised(a) == _normalised(b)

    def load(self, name, path):
        if name not in self.modules:
            module = self.modules[name] = types.ModuleType(name)
            module.__file__ = path
            known = __builtins__ if isinstance(__builtins__, dict) else vars(__builtins__)
            module.__dict__["__builtins__"] = {**known, "__import__": self._import}
            exec(compile(_python3(name, self.sources[path]), path, "exec"), module.__dict__)
        return self.modules[name]

    def _unpack(self, sdist):
        with tarfile.open(sdist) as archive:
            for member in archive.getmembers():
                path = member.name.split("/", 1)[-1]
                if not member.isfile():
                    continue
                if re.fullmatch(PACKAGE + r"/(case/\w+|caseset)\.py", path):
                    self.sources[path] = archive.extractfile(member).read().decode("latin-1")
                elif path.startswith(PACKAGE + "/testdata/"):
                    with open(os.path.join(self.data, os.path.basename(path)), "wb") as file:
                        file.write(archive.extractfile(member).read())

    def _shims(self):
        from autobahn.websocket import utf8validator

        class Utf8Validator(utf8validator.Utf8Validator):
            def validate(self, data):
                return super().validate(raw(data))

        hexed = types.ModuleType("binascii")
        hexed.b2a_hex = hexed.hexlify = lambda data: binascii.b2a_hex(raw(data)).decode()
        resources = types.ModuleType("pkg_resources")
        resources.resource_filename = lambda _, path: os.path.join(self.data, os.path.basename(path))
        validator = types.ModuleType("autobahn.websocket.utf8validator")
        validator.Utf8Validator = Utf8Validator
        # case9_9_1 is in no case list and needs an interface package of Python 2.
        unused = types.ModuleType("case9_9_1")
        return {m.__name__: m for m in (hexed, resources, validator, unused)}

    def _import(self, name, globals=None, locals=None, fromlist=(), level=0):
        if name in self.shims:
            return self.shims[name]
        path = f"{PACKAGE}/case/{name}.py"
        if path in self.sources:
            return self.load(name, path)
        return __import__(name, globals, locals, fromlist, level)


def _python3(name, source):
    text = source.replace("\r\n", "\n")
    text = re.sub(r"^#.*coding[=:].*$", "#", text, count=1, flags=re.M)
    if not text.endswith("\n"):
        text += "\n"
    if name == "case10_1_1":
        text = text.replace("len(self.payload) / self.p", "len(self.payload) // self.p")
    text = re.sub(r"^(\s*)print\b(.*)$", lambda m: f"{m[1]}print({m[2].strip()})", text, flags=re.M)
    text = text.replace("(object, Case, )", "(Case,)").replace(".tostring()", ".tobytes().decode('latin-1')")
    # Renamed in autobahn since 0.10.9.
    for option in ("NoContextTakeover", "MaxWindowBits"):
        for side in ("request", "accept"):
            text = text.replace(side + option, side + re.sub("([A-Z])", r"_\1", option).lower())
    return re.sub(r"\bunichr\b", "chr", re.sub(r"\bxrange\b", "range", text))
