"""Fuzz one of the targets in this folder and record the result.

    python test/fuzz/run.py TARGET [--only KIND] [--minutes M] [--runs N]

needs INSTALL below. `formats --only evt3` spends the time on files of one format. It starts from the committed corpus
and what earlier runs found (build/fuzz/TARGET). An input that breaks a rule is kept there as crash-*, and ends the run.
Otherwise the coverage of the target's modules is measured, and a line is written to benchmarks/soak/fuzz.json; --save
also minimises the corpus and writes it to corpus.zip. A target is a module in targets/: SEEDS are inputs to begin with,
MODULES what is aimed at, and `check` one execution.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE), str(HERE.parent / "wire"), str(HERE.parent / "recordings"), str(HERE.parent)]
INSTALL = "pip install atheris==3.0.0 coverage==7.17.5"  # atheris has wheels for Python 3.11 to 3.13
CORPUS = HERE / "corpus.zip"
RESULTS = ROOT / "benchmarks" / "soak" / "fuzz.json"
TARGETS = sorted(path.stem for path in (HERE / "targets").glob("[!_]*.py"))
MOST_SECONDS = 30  # for one input, on a busy machine
MOST_BYTES = {"messages": 512, "packets": 512, "text": 1024, "formats": 256}
# Modules whose comparisons guide the fuzzer too. Comparisons of arrays must not: atheris 3.0 never frees the result.
COMPARISONS = "cista_ros.wire.serialization", "cista_ros.wire.codec"
MODES = "fuzz", "coverage"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--runs", type=int, default=-1, help="end after this many executions, if that is earlier")
    parser.add_argument("--save", action="store_true", help="minimise the corpus and write it to corpus.zip")
    parser.add_argument("--only", default="", help="of formats: those whose names in targets/formats.py begin so")
    parser.add_argument("--child", choices=MODES, help=argparse.SUPPRESS)
    arguments, rest = parser.parse_known_args()
    if arguments.child == "fuzz":
        fuzz(arguments.target, arguments.only, rest)
    elif arguments.child == "coverage":
        print(json.dumps(coverage(arguments.target, Path(rest[0]))))
    elif importlib.util.find_spec("atheris") is None:
        sys.exit(f"atheris is not installed: {INSTALL}")
    else:
        sys.exit(run(arguments.target, arguments.only, arguments.minutes, arguments.runs, arguments.save))


def fuzz(target: str, only: str, options: list[str]) -> None:
    """Fuzz in this process, which libFuzzer ends."""
    import atheris
    from atheris.import_hook import AtherisMetaPathFinder

    class Finder(AtherisMetaPathFinder):
        def find_spec(self, fullname: str, *rest: Any) -> Any:
            self._trace_dataflow = fullname.startswith(COMPARISONS)
            return super().find_spec(fullname, *rest)

    # The packages whose branches guide the fuzzer; after the finders of built-in modules.
    sys.meta_path.insert(2, Finder({"cista_ros"}, set(), True, True))
    module = importlib.import_module(f"targets.{target}")
    for seed in module.SEEDS:
        module.check(seed)  # imports and caches must not count for an input
    check = (lambda data: module.check(module.of_kind(data, only) if data else data)) if only else module.check
    atheris.Setup([str(ROOT / "build/fuzz" / target / "start"), *options], check)
    atheris.Fuzz()


def coverage(target: str, corpus: Path) -> dict[str, str]:
    """Return the percentage of statements that a corpus reaches, by module of the target."""
    from coverage import Coverage

    module_names = importlib.import_module(f"targets.{target}").MODULES
    for name in [name for name in sys.modules if name.startswith(("cista_ros", "targets"))]:
        del sys.modules[name]  # so that lines executed at import count
    measured = Coverage(data_file=None, include=[str(ROOT / "cista_ros/*")])
    measured.start()
    check = importlib.import_module(f"targets.{target}").check
    for file in corpus.iterdir():
        check(file.read_bytes())
    measured.stop()
    reached = {}
    for name in module_names:
        _, statements, _, missing, _ = measured.analysis2(sys.modules[name])
        reached[name.removeprefix("cista_ros.")] = f"{100 * (1 - len(missing) / max(1, len(statements))):.0f}"
    return reached


def inputs(target: str) -> dict[str, bytes]:
    """Return the committed corpus of a target, by name."""
    with zipfile.ZipFile(CORPUS) as archive:
        names = [name for name in archive.namelist() if name.startswith(f"{target}/")]
        return {name.partition("/")[2]: archive.read(name) for name in names}


def save(target: str, folder: Path) -> None:
    """Replace the committed corpus of a target by the files in a folder."""
    kept = {name: inputs(name) for name in TARGETS}
    kept[target] = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    with zipfile.ZipFile(CORPUS, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, files in kept.items():
            for file, content in files.items():
                archive.writestr(zipfile.ZipInfo(f"{name}/{file}"), content, zipfile.ZIP_DEFLATED)


def run(target: str, only: str, minutes: float, runs: int, keep: bool) -> int:
    """Fuzz, minimise, measure and record; return 1 if a rule was broken."""
    work = ROOT / "build" / "fuzz" / target
    found = work / "corpus"
    found.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(f"targets.{target}")
    for i, seed in enumerate(module.SEEDS):
        (found / f"seed-{i:02d}").write_bytes(seed)
    committed = work / "committed"
    committed.mkdir(exist_ok=True)
    for name, content in inputs(target).items():
        (committed / name).write_bytes(content)
    crashes, known = set(work.glob("crash-*")), set(found.iterdir())
    began = time.time()
    log, code = _libfuzzer(
        f"{target} --only={only}",
        work,
        str(found),
        str(committed),
        f"-max_total_time={60 * minutes:.0f}",
        f"-runs={runs}",
        f"-max_len={MOST_BYTES.get(target, 4096)}",
        "-len_control=0",
    )
    spent = (time.time() - began) / 60
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    new = [path.name for path in sorted(set(work.glob("[clot]*-[0-9a-f]*")) - crashes)]
    if code and not new:
        new = [f"exit code {code}, see {work / 'log.txt'}"]
    for path in {*found.iterdir(), *(work / name for name in new)} - known if only else ():
        if content := path.read_bytes() if path.is_file() else b"":
            path.write_bytes(module.of_kind(content, only))
    merged = work / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir()
    if keep and not new:
        _libfuzzer(target, work, "-merge=1", str(merged), str(found), str(committed))
        save(target, merged)
    result = {
        "executions": _number(log, r"stat::number_of_executed_units:\s+(\d+)"),
        "minutes": round(spent, 1),
        "cpu_minutes": round((used.ru_utime + used.ru_stime) / 60, 1),
        "slowest_s": _number(log, r"stat::slowest_unit_time_sec:\s+(\d+)"),
        "peak_rss_mb": _number(log, r"stat::peak_rss_mb:\s+(\d+)"),
        "edges": _number(log, r"cov: (\d+)"),
        "features": _number(log, r"ft: (\d+)"),
        "corpus": len(list((merged if keep else found).iterdir())),
        "found": new,
        "coverage_percent": _coverage(target, merged if keep else found) if not new else {},
        "python": sys.version.split()[0],
        "machine": _machine(),
        "command": f"python test/fuzz/run.py {target}{f' --only {only}' if only else ''} --minutes {minutes:g}",
        "date": time.strftime("%Y-%m-%d"),
    }
    _write(f"{target} {only}".strip(), result)
    print(json.dumps(result, indent=1))
    return 1 if new else 0


def _libfuzzer(target: str, work: Path, *options: str) -> tuple[str, int]:
    # For -merge, libFuzzer starts itself again by its own name.
    start = work / "start"
    start.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {target} --child fuzz "$@"\n')
    start.chmod(0o755)
    command = [str(start), f"-artifact_prefix={work}/", *options]
    command += [f"-timeout={MOST_SECONDS}", "-rss_limit_mb=3000", "-print_final_stats=1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    (work / ("merge.txt" if "-merge=1" in options else "log.txt")).write_text(done.stdout)
    return done.stdout, done.returncode


def _coverage(target: str, corpus: Path) -> dict[str, str]:
    command = [sys.executable, __file__, target, "--child", "coverage", str(corpus)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _number(log: str, pattern: str) -> int:
    """Return the last match in the log."""
    return int((re.findall(pattern, log) or ["0"])[-1])


def _machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", info)
    return f"{model[1] if model else 'unknown'}, {info.count('processor')} cores shared with other work"


def _write(target: str, result: dict[str, object]) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[target] = result
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
