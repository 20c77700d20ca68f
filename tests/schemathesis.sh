#!/usr/bin/env bash
# Holds the door of a running member against its own OpenAPI description, with
# schemathesis: data that fits and data that doesn't, sequences of requests, and
# whatever else it knows to try. Its seed is fixed.
#
#   ./tests/schemathesis.sh              about a minute
#   SECONDS_LONG=600 ./tests/schemathesis.sh
#
# Installs schemathesis from PyPI into target/venvs the first time.
set -euo pipefail
cd "$(dirname "$0")/.."

version=4.32.5
long=${SECONDS_LONG:-60}
venv=target/venvs/schemathesis
if [[ "$("$venv/bin/python" -m pip show schemathesis 2>/dev/null | sed -n 's/^Version: //p')" != "$version" ]]; then
    echo "Installing schemathesis $version into $venv"
    python3 -m venv "$venv" && "$venv/bin/python" -m pip install --quiet "schemathesis==$version" || {
        echo "it couldn't be installed: python3 with its module venv, and PyPI, are needed" >&2
        exit 2
    }
fi

cargo build --quiet --bin pirogue
pirogue=$PWD/${CARGO_TARGET_DIR:-target}/debug/pirogue
folder=$(mktemp -d)
hub=
finish() {
    [[ -z $hub ]] || kill "$hub" 2>/dev/null || true
    wait
    rm -rf "$folder"
}
trap finish EXIT

# A demo's hub with its two members, each with a door. What one posts, the other
# fetches.
"$pirogue" demo --once --json --events 2 --data "$folder/demo" >/dev/null
door() {
    local member=$1 port=$2
    # It reads from no server here.
    sed -i '/^\[\[connector\]\]/,$d' "$folder/demo/$member/connect.toml"
    sed -i 's/^enabled = true$/enabled = true\nsink = "door"/' "$folder/demo/$member/connect.toml"
    cat >>"$folder/demo/$member/connect.toml" <<TOML
[door]
enabled = true
listen = "127.0.0.1:$port"
token = { file = "keys/door-token" }
wait_seconds = 1
TOML
    (umask 077 && echo "sesame-of-the-tests" >"$folder/demo/$member/keys/door-token")
}
free_port() { "$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
provider=$(free_port)
recipient=$(free_port)
door province-sud "$provider"
door gouvernement "$recipient"
"$pirogue" hub --config "$folder/demo/hub/hub.toml" 2>"$folder/log" &
hub=$!

token="Authorization: Bearer sesame-of-the-tests"
for ((tries = 0; ; tries++)); do
    curl --silent --fail --output "$folder/health" "http://127.0.0.1:$recipient/health" && break
    kill -0 "$hub" 2>/dev/null && ((tries < 300)) || {
        cat "$folder/log" >&2
        echo "the member's door doesn't open" >&2
        exit 1
    }
    sleep 0.1
done
for n in {1..20}; do
    curl --silent --fail --output "$folder/posted" -H "$token" -H "Content-Type: application/json" \
        "http://127.0.0.1:$provider/events/nc.employment.jobseeker.registered" --data-binary @- <<JSON
{"subject": {"kind": "person", "id": "p$n"}, "time": "2026-03-14T08:12:45+11:00",
 "data": {"person": {"given_names": ["Marie"], "family_name": "Kaoline"}, "status": "active", "registered_on": "2026-03-02"}}
JSON
done

"$venv/bin/schemathesis" --config-file tests/schemathesis/schemathesis.toml run \
    "http://127.0.0.1:$recipient/openapi.json" --header "$token" \
    --checks all --mode all --seed 1 --max-time "$long" --request-timeout 15 --warnings off

kill -0 "$hub" || {
    cat "$folder/log" >&2
    echo "the member's side ended" >&2
    exit 1
}
curl --silent --fail "http://127.0.0.1:$recipient/health" >/dev/null || {
    echo "the member's side isn't well afterwards" >&2
    exit 1
}
