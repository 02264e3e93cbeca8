#!/bin/sh
# Before a primary is stopped on purpose, it hands over; the others need not first miss it.
set -u

role() {
    REDISCLI_AUTH=$REPLICA_PASSWORD redis-cli --user replica -p "$REDIS_PORT" role | head -n 1
}

[ "$(role)" = master ] || exit 0
for peer in $PEERS; do
    [ "$peer" != "$SELF" ] || continue
    # Another pod's Sentinel, since this pod's is told to stop at the same moment.
    answer=$(timeout 3 redis-cli -h "$peer" -p "$SENTINEL_PORT" sentinel failover blurline) || continue
    [ "$answer" = OK ] && break
done
tries=0
while [ "$(role)" = master ] && [ "$tries" -lt 20 ]; do
    tries=$((tries + 1))
    sleep 1
done
exit 0
