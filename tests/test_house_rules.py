"""The rules that decay unless they are checked: layers, purity, sizes, docstrings, time, one reading of a field.

An exception is listed by name with its reason; nothing else is excused.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = [pytest.mark.xdist_group("house rules"), pytest.mark.early]  # one worker parses the package once

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "kacap"
FILES = sorted(PACKAGE.rglob("*.py"))
OF_TESTS = sorted((ROOT / "tests").rglob("*.py"))
TESTS = [path for path in OF_TESTS if path.name.startswith("test_")]

# Imports point down this list only; modules of one row may import each other.
LAYERS = (
    (
        "errors",
        "environment",
        "interrupts",
        "trusted",
        "outputs",
        "kernel_cache",
        "kernels",
        "segments",
        "model",
        "summary",
        "analysis",
        "addresses",
        "units",
        "clock",
        "rows",
        "netns",
    ),
    ("capture", "wire"),
    ("flows",),
    ("classify",),
    ("timing",),
    ("views", "news", "connections"),
    ("findings", "facts"),
    ("options",),
    ("analyzer", "pipeline", "resuming", "state_checks"),
    ("",),  # kacap itself: its public names
    ("report",),
    ("library", "watching", "continuing"),
    ("annotate", "compare", "survey"),
    ("commands", "__main__", "pytest_plugin"),
)
# These import none of the analysis.
APART = {
    "lab": {"lab", "environment", "errors", "sockets", "trusted", "clock", "netns"},
    "sockets": {"sockets", "errors", "clock", "netns"},
}

# where I/O, clocks and the environment may be
ROOMS = ("annotate", "capture", "commands", "lab", "pytest_plugin", "report", "sockets", "survey")
IMPURE_MODULES = {
    "asyncio", "ctypes", "datetime", "fcntl", "glob", "io", "logging", "mmap", "os", "pathlib", "random", "secrets",
    "select", "selectors", "shutil", "signal", "socket", "subprocess", "sys", "tempfile", "time",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "breakpoint"}
IMPURE_BY_NAME = {
    "__main__.py": "takes the current directory off the places where Python looks for modules",
    "classify/tracker.py": "asks the system for a random number",
    "environment.py": "asks libraries for what only the environment can ask",
    "interrupts.py": "takes the signals that ask the process to end",
    "kernel_cache.py": "keeps compiled kernels in a directory of the user's",
    "kernels.py": "calls machine code, which only ctypes can",
    "library.py": "collects a report's text in memory",
    "trusted.py": "asks whose a directory is before anything in it is started or loaded",
    "netns.py": "enters a network namespace in a thread of its own",
    "rows.py": "takes memory that grows in place from the system",
    "outputs.py": "writes the files of every command",
    "units.py": "turns nanoseconds into a date in UTC; asks no clock",
}

# where a value has no type that could be written down
UNTYPED_BY_NAME = {
    "capture/library.py": "functions of a C library return what each one's signature says",
    "capture/live_ring.py": "a function of a C library",
    "capture/live_scapy.py": "a socket of scapy's, whose own types lack what is used of it",
    "capture/records.py": "inside a kernel: an integer of whatever width the value needs",
    "capture/state_file.py": "tables of whatever dtype the layout gives each",
    "kernels.py": "the arguments of every kernel, and numba, which has no types",
    "lab/actions.py": "answers of a host to a verb that is named",
    "lab/network.py": "answers of a host to a verb that is named",
    "report/records.py": "functions that each take another type of record, by that type",
    "report/tables.py": "values of a column, of the kind that the column names",
    "sockets/apart.py": "answers as JSON, of the shape that the question has",
}

FILE_LINES, FILE_MEDIAN, FUNCTION_LINES, FUNCTION_MEDIAN, KERNEL_PARAMETERS = 400, 200, 60, 10, 6
LONGER_BY_NAME: dict[str, str] = {}

TIMELIKE = re.compile(r"(^|_)(now|when|time|timestamp|deadline|elapsed|duration|timeout|lateness|delay|silence)s?$")
OTHER_UNIT = re.compile(r"_(ms|us|msec|usec|sec|secs|seconds|millis|micros)$")


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    """Return the top-level name that a file belongs to: ``capture`` for capture/pcap.py, '' for __init__.py."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def layer(name: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if name in names)


def module_of(module: str) -> str:
    """Return the top-level name that an import means: ``wire`` for kacap.wire.tcp, '' for kacap's public names."""
    name = [*module.split("."), ""][1]
    return name if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file() else ""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: a relative import"
            yield node.module or ""
            if node.module == "kacap":
                yield from (f"kacap.{alias.name}" for alias in node.names)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions and methods of a file, those within functions left out."""

    def inside(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node
            elif isinstance(node, ast.ClassDef):
                yield from inside(node.body)

    yield from inside(tree(path).body)


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function from its ``def`` to its last, the docstring left out."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    is_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(function.body) > 1
    return lines - ((first.end_lineno or 0) - first.lineno + 1) if is_doc else lines


def is_kernel(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "kernel" for mark in function.decorator_list)


def test_imports_point_one_way_down_the_layers():
    wrong = []
    for path in FILES:
        here = room(path)
        for module in imports(path):
            if not (module == "kacap" or module.startswith("kacap.")):
                continue
            there = module_of(module)
            if here in APART:
                allowed = there in APART[here]
            elif there in APART:  # what the analysis must not know, commands may start
                allowed = here in ("commands", "pytest_plugin", "")
            else:
                allowed = layer(there) <= layer(here) or here == ""
            if not allowed:
                wrong.append(f"{name_of(path)} imports {module}")
    assert not wrong


@pytest.mark.parametrize("path", [p for p in FILES if room(p) not in ROOMS], ids=name_of)
def test_no_io_no_clock_and_no_environment_outside_their_rooms(path):
    if name_of(path) in IMPURE_BY_NAME:
        return
    modules = {module.split(".")[0] for module in imports(path)} & IMPURE_MODULES
    calls = {
        node.func.id
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
    }
    assert not modules | calls


def test_no_file_is_longer_than_it_should_be():
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {name: n for name, n in lines.items() if n > FILE_LINES and name not in LONGER_BY_NAME}
    assert statistics.median(n for n in lines.values() if n > 10) <= FILE_MEDIAN


def test_no_function_is_longer_than_it_should_be():
    lengths = {f"{name_of(path)}:{f.name}": length(f) for path in FILES for f in functions(path)}
    assert not {name: n for name, n in lengths.items() if n > FUNCTION_LINES and name not in LONGER_BY_NAME}
    assert statistics.median(lengths.values()) < FUNCTION_MEDIAN


def test_a_kernel_names_a_field_of_a_row_in_one_way():
    kernels = [(path, f) for path in FILES for f in functions(path) if is_kernel(f)]
    by_key = [
        f"{name_of(path)}:{node.lineno}"
        for path, f in kernels
        for node in ast.walk(f)
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    ]
    assert kernels and not by_key  # row.field


def test_a_kernel_takes_at_most_six_parameters():
    kernels = [(path, f) for path in FILES for f in functions(path) if is_kernel(f)]
    assert kernels, "no kernel found: is the decorator still called kernel?"
    counts = {f"{name_of(path)}:{f.name}": len(f.args.args) + len(f.args.kwonlyargs) for path, f in kernels}
    assert not {name: n for name, n in counts.items() if n > KERNEL_PARAMETERS}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_module_and_public_name_has_a_docstring(path):
    missing = [] if ast.get_docstring(tree(path)) or not tree(path).body else [name_of(path)]
    for node in ast.walk(tree(path)):
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        if public and not ast.get_docstring(node):
            missing.append(f"{name_of(path)}:{node.lineno} {node.name}")
    nested = {
        f"{name_of(path)}:{inner.lineno} {inner.name}"
        for f in functions(path)
        for inner in ast.walk(f)
        if inner is not f and isinstance(inner, ast.FunctionDef)
    }
    assert not [name for name in missing if name not in nested]


def test_any_stands_only_where_no_type_exists():
    found = {
        name_of(path)
        for path in FILES
        if any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(tree(path)))
    }
    assert found == set(UNTYPED_BY_NAME)


def numbers_of_time(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line, name, annotation) of every parameter and field that is annotated as a plain number."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.arg) and node.annotation:
            yield node.lineno, node.arg, ast.unparse(node.annotation)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.lineno, node.target.id, ast.unparse(node.annotation)


@pytest.mark.parametrize("path", [p for p in FILES if room(p) not in ("commands", "lab", "sockets")], ids=name_of)
def test_time_is_integer_nanoseconds_and_says_so(path):
    wrong = []
    for line, name, annotation in numbers_of_time(path):
        kinds = set(annotation.replace(" ", "").split("|")) - {"None"}
        if kinds <= {"int", "float"} and (TIMELIKE.search(name) or OTHER_UNIT.search(name)):
            wrong.append(f"{name_of(path)}:{line} {name}: {annotation} does not end in _ns")
        if name.endswith("_ns") and "float" in kinds:
            wrong.append(f"{name_of(path)}:{line} {name}: {annotation} is no integer")
    assert not wrong


def test_a_wrap_around_subtraction_is_written_once():
    pattern = re.compile(r"0xFFFF_?FFFF|0x8000_?0000|0x1_?0000_?0000|2 ?\*\* ?3[12]|1 ?<< ?3[12]", re.IGNORECASE)
    found = {
        f"{name_of(path)}:{number}"
        for path in FILES
        if room(path) in ("wire", "flows", "classify", "timing", "findings", "analyzer")
        and name_of(path) != "wire/sequence.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line.partition("#")[0])
    }
    assert not found


def test_a_fields_offset_is_written_once():
    """Outside wire/fields.py nothing under wire/ indexes a header by a number of its own."""
    wrong = []
    for path in FILES:
        if room(path) not in ("wire", "flows", "classify", "timing") or name_of(path) == "wire/fields.py":
            continue
        for node in ast.walk(tree(path)):
            if not (isinstance(node, ast.Subscript) and isinstance(node.slice, ast.BinOp)):
                continue
            numbers = [n for n in (node.slice.left, node.slice.right) if isinstance(n, ast.Constant)]
            if any(isinstance(n.value, int) and n.value > 1 for n in numbers):
                wrong.append(f"{name_of(path)}:{node.lineno} {ast.unparse(node)}")
    assert not wrong


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_test_names_are_sentences(path):
    short = [
        node.name
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and len(node.name.split("_")) < 5
    ]
    assert not short


# what looks private but is documented: os, ctypes, namedtuple, IPython; and what a test's own classes hold
NOT_PRIVATE = {"_exit", "_name", "_replace", "_make", "_fields", "_asdict", "_fd"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_no_test_reaches_for_a_private_name(path):
    used = [
        (node.lineno, node.attr)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]
    used += [(node.lineno, alias.name) for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)
             for alias in node.names]  # fmt: skip
    private = re.compile(r"_(?!_|repr_)")
    assert not [(line, name) for line, name in used if private.match(name) and name not in NOT_PRIVATE]


def readme_command() -> str:
    """Return the README's one command that runs the tests."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = [line.strip() for line in text.splitlines() if line.startswith("python3 -m venv") and "pytest" in line]
    return command


def test_the_readme_command_for_tests_is_what_ci_runs():
    assert readme_command() in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_captures_that_the_readme_names_are_shipped():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"captures/[\w./-]+\.pcap(?:ng)?", text))
    assert named
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_the_tests_of_a_group_keep_to_one_worker(request: pytest.FixtureRequest) -> None:
    """Tests of real time would wait for each other. pytest-xdist tells a group by what it adds to the test's name."""
    assert not request.config.getoption("loadgroup", False) or request.node.nodeid.endswith("@house rules")
