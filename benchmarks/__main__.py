"""Measure parsgd side by side with its peers, and write docs/benchmarks.md.

scripts/bench                        every figure, on this machine; with --data also those on real data
scripts/bench --only equal_work      some figures; the others on the page stay as they are
scripts/bench --quick                small sizes, to see that everything runs; the page is written elsewhere
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import figures, machine, page, problems, readings, solvers
from benchmarks.options import Options

DOCS = machine.ROOT / "docs"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and two turns; never writes to docs")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="real data; without, those problems are skipped")
    parser.add_argument("--only", nargs="+", choices=figures.names(), metavar="FIGURE", help=" ".join(figures.names()))
    parser.add_argument("--turns", type=int, metavar="N", help="turns of the peers (default: 9)")
    parser.add_argument("--scratch", type=Path, metavar="FOLDER", help="where large files may be made for a while")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write page, pictures, readings here, not in docs")
    parser.add_argument("--page-only", action="store_true", help="write the page anew from stored readings")
    found = parser.parse_args(arguments)
    if found.data is not None and not found.data.is_dir():
        parser.error(f"--data: there is no folder {found.data}")
    if found.turns is not None and found.turns < 1:
        parser.error(f"--turns: at least 1, not {found.turns}")
    return found


def take(name: str, options: Options, about: dict) -> readings.Taken:
    """Measure one figure.  One that fails does not take the others with it: the page says what happened."""
    print(f"{name}: {figures.load(name).TITLE}", file=sys.stderr, flush=True)
    began, failed, found = time.perf_counter(), "", []
    try:
        found = figures.load(name).measure(options)
    except Exception as error:
        traceback.print_exc()
        failed = f"{type(error).__name__}: {error}"
    # the next figure has the memory to itself
    problems.load.cache_clear()
    solvers.in_precision.cache_clear()
    return readings.Taken(
        commit=machine.commit(),
        time=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        n_turns=options.n_turns,
        machine=about,
        readings=tuple(found),
        seconds=round(time.perf_counter() - began, 1),
        failed=failed,
        quick=options.quick,
    )


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    out = asked.out
    if out is None:
        out = Path(tempfile.mkdtemp(prefix="parsgd-bench-")) if asked.quick else DOCS
    stored = out / "results" / "benchmarks.json"
    taken = readings.load(stored)
    failed = []
    if not asked.page_only:
        warnings.simplefilter("ignore")
        scratch = Path(tempfile.mkdtemp(prefix="parsgd-bench-scratch-", dir=asked.scratch))
        options = Options(scratch, asked.quick, asked.data, asked.turns or (2 if asked.quick else 9))
        try:
            about = machine.describe(asked.quick)
            for name in asked.only or figures.names():
                taken[name] = take(name, options, about)
                failed += [name] if taken[name].failed else []
                # at once, so that an interrupted run keeps what it has
                readings.save(stored, taken)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    written = page.write(out, taken)
    print(f"{written}\n{stored}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
