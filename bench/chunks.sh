#!/usr/bin/env bash
# What a rescue at hand costs an undisturbed stream: instructions a chunk with `rescue: resume` over `rescue: error`, by
# callgrind. First of the gateway as it runs, between a simulated provider and curl; then, more strictly, of the way of a
# stream inside it alone, without the two connections. Exits 1 where the gateway spends more than 5 % more.
# Needs valgrind and curl.
set -eu
cd "$(dirname "$0")/.."
for tool in valgrind curl; do command -v $tool >/dev/null || { echo "needs $tool"; exit 2; }; done
cargo build --release --quiet -p mainstay
cargo build --release --quiet --example relay -p gateway
built="${CARGO_TARGET_DIR:-target}/release"
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
words=200
port=$((20000 + RANDOM % 20000))
collected() { sed -n 's/.*Collected : *//p' "$1"; }

ask() { # one stream
  case $1 in
    openai-chat) path=/v1/chat/completions; body='{"model":"m","stream":true,"messages":[{"role":"user","content":"Hello"}]}' ;;
    anthropic-messages) path=/v1/messages; body='{"model":"m","stream":true,"max_tokens":4096,"messages":[{"role":"user","content":"Hello"}]}' ;;
    gemini) path='/v1beta/models/m:streamGenerateContent?alt=sse'; body='{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}' ;;
  esac
  curl -sN "http://127.0.0.1:$port$path" -H 'content-type: application/json' -d "$body" | grep -c '^data: '
}

gateway() { # instructions of so many streams, and on the second line their chunks
  cat >"$work/m.yaml" <<YAML
drain_accept: 0s
providers: { a: { dialect: $1, base_url: "$base", keys: [sk-sim] } }
models: { m: { targets: [a/x], rescue: $2 } }
YAML
  port=$((port + 1))
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$built/mainstay" serve --config "$work/m.yaml" \
    --listen "127.0.0.1:$port" >/dev/null 2>"$work/log" &
  local pid=$! chunks=0
  until curl -sf "http://127.0.0.1:$port/health/ready" >/dev/null; do
    kill -0 $pid 2>/dev/null || { grep -v '^==' "$work/log" >&2; exit 1; } # the port may be taken
    sleep 0.2
  done
  for _ in $(seq "$3"); do chunks=$((chunks + $(ask "$1"))); done
  kill -TERM $pid; wait $pid 2>/dev/null || true
  echo "$(collected "$work/log") $chunks"
}

failed=0
for dialect in openai-chat anthropic-messages gemini; do
  port=$((port + 1)); provider=$port
  base="http://127.0.0.1:$provider/v1"; [ $dialect = gemini ] && base="http://127.0.0.1:$provider/v1beta"
  "$built/mainstay" simulate --dialect $dialect --listen "127.0.0.1:$provider" >/dev/null 2>&1 &
  until curl -s "http://127.0.0.1:$provider/__sim/behaviour" >/dev/null; do sleep 0.1; done
  curl -s -X POST "http://127.0.0.1:$provider/__sim/behaviour" \
    -d "{\"pace\":{\"first_token\":\"1ms\",\"interval\":\"4ms\",\"tokens\":$words}}" >/dev/null
  per_chunk() { # the difference of two lengths leaves the start-up out
    read -r few few_chunks <<<"$(gateway $dialect "$1" 3)"; read -r many many_chunks <<<"$(gateway $dialect "$1" 13)"
    echo $(((many - few) / (many_chunks - few_chunks)))
  }
  with=$(per_chunk resume); without=$(per_chunk error)
  more=$(((with - without) * 1000 / without)); verdict=met
  [ "$more" -le 50 ] || { verdict="NOT MET"; failed=1; }
  printf '%-8s %s: %d instructions a chunk, %d without rescue: %d.%d %% more (bar 5 %%)\n' \
    "$verdict" $dialect "$with" "$without" $((more / 10)) $((more % 10))
  inside() { valgrind --tool=callgrind --callgrind-out-file=/dev/null "$built/examples/relay" $dialect "$1" "$2" 2>"$work/log"; collected "$work/log"; }
  with=$((($(inside resume 60) - $(inside resume 10)) / 50 / 200)); without=$((($(inside error 60) - $(inside error 10)) / 50 / 200))
  printf '         inside alone: %d, %d without\n' "$with" "$without"
done
exit $failed
