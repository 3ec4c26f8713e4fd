"""Mutation testing of what decides: ``python tests/bench/mutate.py [--seed N] [--minutes N] [--only FILE:LINE]``.

A mutant is the package with one small error: a comparison turned or moved by one, a constant off by one, ``and`` for
``or``, a ``not`` dropped, plus for minus, an answer negated. It is killed when a test fails, survives when none does.
Which tests reach its line comes from the data that coverage_core.py leaves: of those some are run, units first.
No file is changed: all tests are collected once, kernels as plain Python; each mutant is a fork that has other code.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import coverage_core
import pytest
from _pytest.runner import runtestprotocol as run
from coverage_core import PACKAGES, PLAIN, ROOT, SMALL, TESTS

CPU_SECONDS = 90.0  # of one mutant: one that never ends is killed
UNMADE = 3
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


def mutate(node: ast.AST) -> bool:
    """Make an error of a node; return whether one of the kind can be made."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        node.ops = [SWAPS[type(node.ops[0])]()]
    elif isinstance(node, ast.BoolOp | ast.BinOp) and type(node.op) in SWAPS:
        node.op = SWAPS[type(node.op)]()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        node.operand = ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        node.value += 1
    else:
        return False
    return True


class Site:
    """One place in one file where an error can be made."""

    def __init__(self, path: Path, tree: ast.Module, node: ast.expr, function: ast.FunctionDef) -> None:
        self.path, self.tree, self.node, self.function = path, tree, node, function

    def __str__(self) -> str:
        mutate(mutant := copy.deepcopy(self.node))
        was, now = ast.unparse(self.node), ast.unparse(mutant)
        return f"{self.path.relative_to(ROOT)}:{self.node.lineno} {self.function.name}: {was}  ->  {now}"

    def codes(self) -> Iterator[CodeType]:
        """Yield the code of everything in the file, with the error in it from now on."""
        mutate(self.node)
        waiting = [compile(ast.fix_missing_locations(self.tree), str(self.path), "exec", dont_inherit=True)]
        while waiting:
            yield (code := waiting.pop())
            waiting += [each for each in code.co_consts if isinstance(each, CodeType)]

    def plant(self) -> None:
        """Give the functions of the file their code with the error in it."""
        codes = {(code.co_qualname, code.co_firstlineno): code for code in self.codes()}
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and each.__code__.co_filename == str(self.path):
                each.__code__ = codes[each.__code__.co_qualname, each.__code__.co_firstlineno]


def sites(path: Path) -> Iterator[Site]:
    """Yield the places of a file in the bodies of functions; not in annotations."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    words = (each for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) for each in ast.walk(node.annotation))
    passed = set(map(id, words))
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for node in (node for statement in function.body for node in ast.walk(statement)):
            if isinstance(node, ast.expr) and id(node) not in passed and mutate(copy.deepcopy(node)):
                yield Site(path, tree, node, function)


def survives(site: Site | None, items: list[pytest.Item]) -> bool:
    """Return whether every test passes with this error, or with none, in a process of its own."""
    if not (pid := os.fork()):
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        code = UNMADE
        try:
            if site:
                site.plant()
            code = 1
            pairs = zip_longest(items, items[1:])
            code = int(any(each.failed for item, after in pairs for each in run(item, log=False, nextitem=after)))
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code != UNMADE, f"{site}: this mutant cannot be made"
    return code == 0


class Mutants:
    """What pytest does in place of running its tests."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.chance, self.data = given, random.Random(given.seed), coverage.CoverageData(str(PLAIN))
        self.data.read()

    def chosen(self) -> Iterator[Site]:
        """Yield places of the packages in turn, in the order of the seed."""
        files = [sorted((ROOT / "kacap" / each).glob("*.py")) for each in PACKAGES]
        rooms = [[site for path in several for site in sites(path)] for several in files]
        for room in rooms:
            self.chance.shuffle(room)
        yield from (site for several in zip(*rooms, strict=False) for site in several if self.given.only in str(site))

    def tests_of(self, site: Site, items: dict[str, pytest.Item]) -> list[pytest.Item]:
        """Return tests that reach a place."""
        reached = self.data.contexts_by_lineno(str(site.path)).get(site.node.lineno, [])
        found = [items[test] for test in sorted(reached) if test in items]
        few = self.chance.sample(found, min(len(found), self.given.tests))
        return sorted(few, key=lambda item: "whole" in item.nodeid)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Make mutants, tell of each, and how many were killed."""
        items = {item.nodeid: item for item in session.items}
        first, *_, last = session.items
        run(last, log=False, nextitem=first)  # what all tests share is set up once
        assert survives(None, self.chance.sample(session.items, 8)), "tests fail without an error"
        until, told = time.monotonic() + 60 * self.given.minutes, Counter[str]()
        for site in self.chosen():
            if time.monotonic() > until:
                break
            tests = self.tests_of(site, items)
            word = "not reached" if not tests else "survived" if survives(site, tests) else "killed"
            told[word] += 1
            print(f"{word:11} {len(tests):2} tests  {site}", flush=True)
        print(f"seed {self.given.seed}: {dict(told)}")
        return True


def main() -> int:
    """Make mutants for so many minutes; tell of each, then how many were killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--tests", type=int, default=12, help="that are run for one mutant at most")
    parser.add_argument("--only", default="", help="FILE:LINE, as a survivor is told")
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    sys.path[:0] = [str(ROOT), str(TESTS), str(TESTS / "unit")]
    options = ["-n0", "-q", "-p", "no:cacheprovider", "-W", "ignore", *(str(TESTS / each) for each in SMALL)]
    return int(pytest.main(options, plugins=[coverage_core, Mutants(parser.parse_args())]))


if __name__ == "__main__":
    sys.exit(main())
