"""docs/benchmarks.md, written from readings: the machine, then a section for each figure."""

from __future__ import annotations

from pathlib import Path

from benchmarks import figures
from benchmarks.markdown import number
from benchmarks.readings import Taken

HEAD = """# Benchmarks

<!-- figures: scripts/bench --data DATA_FOLDER -->

This page compares parsgd with other libraries. `scripts/bench` measures all figures on your machine and writes this
page and its pictures. The other libraries run at the best of the settings that were tried. All libraries take turns on
the same machine, after one untimed run, so compilation is excluded. A ratio is the median over turns, with its
quartiles; above 1 parsgd is better. Each section ends with its date, commit and command, since sections come from
several runs. A plus marks a commit with further changes. `DATA_FOLDER` is the folder of the real data.
"""

QUICK = "**A quick run, of small sizes: it shows that everything runs, and none of its figures mean anything.**\n"


def write(folder: Path, taken: dict[str, Taken]) -> Path:
    """Write `folder/benchmarks.md` and the pictures in `folder/pictures`."""
    path = folder / "benchmarks.md"
    known = [name for name in figures.names() if name in taken]
    warning = [QUICK] if any(entry.quick for entry in taken.values()) else []
    parts = [HEAD, *warning, _machines(taken)]
    missing = [figures.load(name).TITLE for name in figures.names() if name not in taken]
    if missing:
        parts.append("Not measured yet: " + "; ".join(missing) + ".\n")
    parts += [_section(name, taken[name], folder) for name in known]
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts))
    return path


def _section(name: str, entry: Taken, folder: Path) -> str:
    module = figures.load(name)
    command = f"scripts/bench --data DATA_FOLDER --only {name} --turns {entry.n_turns}"
    parts = [f"## {module.TITLE}\n", f"<!-- figures: {command} -->\n"]
    if entry.failed:
        parts.append(f"This figure could not be taken: `{entry.failed}`.\n")
    if entry.readings:
        described = module.describe(list(entry.readings))
        missing = {r.problem: r.note for r in entry.readings if not r.values and r.ratio is None and r.note}
        parts.append(described)
        parts += [f"Not measured: {problem}: {note}.\n" for problem, note in missing.items() if note not in described]
        pictures = module.draw(list(entry.readings), folder / "pictures")
        parts += [f"![{module.TITLE}]({picture.relative_to(folder).as_posix()})\n" for picture in pictures]
    taken = f"{entry.n_turns} turns, commit {entry.commit}, {entry.time}, {entry.seconds:.0f} s"
    parts.append(f"<small>{taken}: `{command}`.</small>\n")
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
