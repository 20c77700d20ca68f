#!/usr/bin/env bash
# What a back-office does at the door of its member, with curl alone: it posts two
# records until they are taken, then fetches what arrived, and acknowledges each
# page once it is handled.
#
#   DOOR=http://127.0.0.1:8481 TOKEN=… ./post_and_fetch.sh post FILE KEY
#   DOOR=http://127.0.0.1:8481 TOKEN=… ./post_and_fetch.sh fetch FOLDER
#
# `post` sends FILE, the records of nc.identity.account.verified as a JSON array.
# KEY names this request for ever: the same file sent again with the same key
# makes no second event. `fetch` writes each delivery once to FOLDER/deliveries.
set -euo pipefail

door=${DOOR:-http://127.0.0.1:8481}
headers=(-H "Content-Type: application/json")
[[ -z ${TOKEN:-} ]] || headers+=(-H "Authorization: Bearer $TOKEN")

# 202: every event is safe. 503: not now, or nobody knows; the same again, with
# the same key, is right either way. Anything else says what is wrong.
post() {
    local file=$1 key=$2 status
    local answer=$file.answer
    while true; do
        status=$(curl --silent --show-error "${headers[@]}" -H "Idempotency-Key: $key" --data-binary "@$file" \
            --output "$answer" --write-out '%{http_code}' "$door/events/nc.identity.account.verified") || status=000
        case $status in
            202) cat "$answer"; echo; return 0 ;;
            000 | 503) sleep 5 ;;
            *) cat "$answer" >&2; echo >&2; return 1 ;;
        esac
    done
}

# Where it is, and what it made of the deliveries, belong in one transaction of
# the back-office's database. Here the file of deliveries is both: its last line
# says where to go on.
fetch() {
    local done=$1/deliveries page=$1/page after count
    touch "$done"
    while true; do
        after=$(tail -n 1 "$done" | jq --raw-output '.cursor // empty')
        curl --silent --show-error --fail-with-body "${headers[@]}" --output "$page" \
            "$door/deliveries?max=100&wait=${WAIT:-30}${after:+&after=$after}"
        count=$(jq '.deliveries | length' "$page")
        ((count > 0)) || return 0
        jq --compact-output '.deliveries[]' "$page" >>"$done"
        jq '.deliveries | last | {epoch, sequence}' "$page" |
            curl --silent --show-error --fail-with-body "${headers[@]}" --output "$page" --data-binary @- \
                "$door/deliveries/ack"
    done
}

case ${1:-} in
    post) post "$2" "$3" ;;
    fetch) fetch "$2" ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
