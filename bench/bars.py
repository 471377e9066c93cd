#!/usr/bin/env python3
"""Runs the kit on the bare hyper proxy and on Mainstay, interleaved, and holds Mainstay to its bars.

    bench/bars.py [--rounds N]

Builds nothing: needs `cargo build --release` here and in bench/tools. Each figure is the least disturbed of the rounds
(CPU per request only grows when the machine is busy). Exits 1 when a bar is not met.
"""

import argparse, json, os, re, subprocess, sys, tempfile
from pathlib import Path

KIT = Path(__file__).resolve().parent
BASE, OURS = "hyper-peek", "ours"


def run(phases, results):
    env = {**os.environ, "BENCH_RESULTS": str(results)}
    for target in (BASE, OURS):
        cmd = [sys.executable, str(KIT / "bench.py"), "--phases", phases, "--tries", "1", target]
        done = subprocess.run(cmd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0 or not (results / f"{target}.json").exists():
            sys.exit(f"{' '.join(cmd)} failed:\n{done.stdout[-2000:]}")
    return [json.loads((results / f"{t}.json").read_text()) for t in (BASE, OURS)]


def demo():
    """The demo's own lines: what a failover on a 503 adds, and how the answers ended."""
    binary = os.environ.get("MAINSTAY", KIT.parent / "target/release/mainstay")
    said = subprocess.run([str(binary), "demo"], stdout=subprocess.PIPE, text=True, check=True).stdout
    added = re.search(r"added (-?[\d.]+) ms .*opened .*?, (-?[\d.]+) ms after", said)
    ended = re.search(r"(\d+) requests, (\d+) answered, (\d+) ended honestly, (\d+) cut silently", said)
    if not added or not ended:
        sys.exit(f"the demo said something else:\n{said[-1000:]}")
    requests, answered, honest, silent = map(int, ended.groups())
    return float(added[1]), float(added[2]), requests - answered - honest, honest, silent, ended[0]


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--rounds", type=int, default=3)
    rounds = args.parse_args().rounds
    figures = {}

    def keep(name, value):
        figures[name] = min(value, figures.get(name, value))

    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            base, ours = run("start,sat,stream,hold", Path(folder))
            for who, r in (("base", base), ("ours", ours)):
                keep(f"{who} request", r["phases"]["sat"]["gw_cpu_us_per_req"])
                keep(f"{who} chunk", r["phases"]["stream_fast"]["gw_cpu_us_per_chunk"])
            keep("start", ours["started_s"] * 1000)
            keep("idle", ours["rss_idle_mb"])
            keep("streams", ours["phases"]["hold_1000"]["rss_mb"])
    before, after, missing, honest, silent, story = demo()
    bars = [
        ("demo: a failover on a 503 adds before the breaker opens, ms", before, 5, ""),
        ("demo: and after it opened, ms", after, 1, ""),
        ("demo: requests neither answered nor ended honestly", missing, 0, story),
        ("demo: requests ended honestly, which is not answered", honest, 0, ""),
        ("demo: answers cut silently", silent, 0, ""),
        ("CPU per request at saturation, 1 KB, × hyper-peek", figures["ours request"] / figures["base request"], 1.7,
         f"{figures['ours request']:.1f} / {figures['base request']:.1f} µs"),
        ("CPU per chunk, 400 flat out, × hyper-peek", figures["ours chunk"] / figures["base chunk"], 1.3,
         f"{figures['ours chunk']:.2f} / {figures['base chunk']:.2f} µs"),
        ("start to first answer, ms", figures["start"], 100, ""),
        ("memory idle, MB", figures["idle"], 20, ""),
        ("memory at 1,000 open streams, MB", figures["streams"], 60, ""),
    ]
    missed = 0
    for name, value, bar, note in bars:
        met = value <= bar
        missed += not met
        print(f"{'met   ' if met else 'MISSED'} {name}: {value:.2f} (bar {bar}) {note}".rstrip())
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
