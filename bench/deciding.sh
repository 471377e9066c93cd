#!/usr/bin/env bash
# What deciding costs an exchange over 30 targets, by strategy, with limits unknown, known, and known while a call of each
# target waits (busy): instructions from plan to settle, by callgrind, which other load on the machine does not change.
# Exits 1 where a strategy needs more than the bar: a little more than the dearest does, which takes 2.5 µs. Nanoseconds
# are told by
# `cargo run --release -p gateway --example decision_cost`.
# Needs valgrind.
set -eu
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "needs valgrind"; exit 2; }
cargo build --release --quiet --example decision_cost -p gateway
built="${CARGO_TARGET_DIR:-target}/release/examples/decision_cost"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
bar=${1:-38500}

instructions() { # of so many exchanges, start-up included
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$built" "$1" "$2" "$3" 2>"$log"
  sed -n 's/.*Collected : *//p' "$log"
}

failed=0
for strategy in priority weighted cheapest fastest balanced auto; do
  for how in unknown known busy; do # the difference of two lengths leaves the start-up out
    each=$((($(instructions $strategy $how 2200) - $(instructions $strategy $how 200)) / 2000)); verdict=met
    [ $each -le "$bar" ] || { verdict="NOT MET"; failed=1; }
    printf '%-8s %-9s %-8s %6d instructions from plan to settle (bar %d)\n' "$verdict" $strategy $how $each "$bar"
  done
done
exit $failed
