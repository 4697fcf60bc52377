"""docs/benchmarks.md, written from readings: all targets first, then a section for each figure."""

from __future__ import annotations

from pathlib import Path

from benchmarks import figures
from benchmarks.markdown import NOTHING, number, table, times, verdict, wanted
from benchmarks.readings import Reading, Taken

# what rows of the first table are about where they do not say otherwise
USUAL = ("parsgd", "parsgd, 2 workers")
HEAD = """# Benchmarks

parsgd side by side with what one would use instead. `scripts/bench` measures all of it on your machine, in one run, and
writes this page and its pictures; nothing on it is typed by hand but the reasons why a target is missed. Peers run at
the best of their settings that were tried; everybody takes turns on the same machine, after one run that does not
count, so compilation is apart. A ratio is the median over turns of runs of the same turn, with its quartiles, and more
is better for parsgd. At the end of each section stands when it was taken, and at which commit: sections of several runs
may stand side by side.
"""


QUICK = "**A quick run, of small sizes: it shows that everything runs, and none of its figures mean anything.**\n"


def write(folder: Path, taken: dict[str, Taken]) -> Path:
    """Write `folder/benchmarks.md` and the pictures in `folder/pictures`."""
    path = folder / "benchmarks.md"
    known = [name for name in figures.names() if name in taken]
    warning = [QUICK] if any(entry.quick for entry in taken.values()) else []
    parts = [HEAD, *warning, _machines(taken), "## Targets\n", targets(taken)]
    missing = [figures.load(name).TITLE for name in figures.names() if name not in taken]
    if missing:
        parts.append("Not measured yet: " + "; ".join(missing) + ".\n")
    parts += [_section(name, taken[name], folder) for name in known]
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts))
    return path


def targets(taken: dict[str, Taken]) -> str:
    """One row for each reading that has a target, missed ones with their reasons."""
    rows = []
    for name in figures.names():
        module = figures.load(name)
        readings = taken[name].readings if name in taken else ()
        rows += [_target(row, reason(module, row)) for row in readings if row.target is not None]
    header = ["problem", "against", "measured (quartiles)", "target", "", "why"]
    return table(header, rows, words=(0, 1, 5))


def reason(module, reading: Reading) -> str:
    """Why a target is not met, by hand; or why there is no measurement."""
    if reading.met:
        return ""
    if reading.met is None:
        return reading.note
    if reading.judged == 0:
        return reading.note
    notes = getattr(module, "NOTES", {})
    keys = ((reading.problem, reading.peer, reading.solver), (reading.problem, reading.peer), reading.problem)
    return next((notes[key] for key in keys if key in notes), "no reason is known yet")


def _target(reading: Reading, why: str) -> list[str]:
    problem = f"{reading.problem}, {reading.solver}" if reading.solver not in USUAL else reading.problem
    measured = times(reading) if reading.ratio is not None else f"{number(reading.judged)} {reading.unit}".strip()
    return [problem, reading.peer or NOTHING, measured, wanted(reading), verdict(reading), why]


def _section(name: str, entry: Taken, folder: Path) -> str:
    module = figures.load(name)
    parts = [f"## {module.TITLE}\n"]
    if entry.failed:
        parts.append(f"This figure could not be taken: `{entry.failed}`.\n")
    if entry.readings:
        parts.append(module.describe(list(entry.readings)))
        pictures = module.draw(list(entry.readings), folder / "pictures")
        parts += [f"![{module.TITLE}]({picture.relative_to(folder).as_posix()})\n" for picture in pictures]
    parts.append(f"<small>{entry.n_turns} turns, commit {entry.commit}, {entry.time}, {entry.seconds:.0f} s.</small>\n")
    return "\n".join(parts)


def _machines(taken: dict[str, Taken]) -> str:
    """A paragraph for each machine that figures were taken on; nearly always there is one."""
    seen: dict[str, list[str]] = {}
    for name, entry in taken.items():
        about = {key: entry.machine.get(key) for key in ("processor", "cores", "memory_bytes", "python", "versions")}
        text = _machine(about)
        seen.setdefault(text, []).append(name)
    lines = []
    for text, names in seen.items():
        which = "" if len(seen) == 1 else f" ({', '.join(names)})"
        best = taken[names[-1]].machine
        limits = (
            f" It reads {number(best['bandwidth_bytes_per_s']['2'] / 1e9)} GB/s with two threads"
            f" ({number(best['bandwidth_bytes_per_s']['1'] / 1e9)} with one), and multiplies float32 matrices at"
            f" {number(best['gemm_flop_per_s']['2'] / 1e9)} GFLOP/s ({number(best['gemm_flop_per_s']['1'] / 1e9)})."
        )
        lines.append(f"**Machine**{which}: {text}{limits}\n")
    return "\n".join(lines)


def _machine(about: dict) -> str:
    versions = about["versions"] or {}
    there = ", ".join(f"{package} {found}" for package, found in versions.items() if found)
    absent = [package for package, found in versions.items() if not found]
    text = (
        f"{about['processor']}, {about['cores']} cores, {number((about['memory_bytes'] or 0) / 1e9)} GB;"
        f" Python {about['python']}, {there}."
    )
    return text + (f" Not installed, and left out: {', '.join(absent)}." if absent else "")
