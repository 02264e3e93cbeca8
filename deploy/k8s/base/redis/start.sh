#!/bin/sh
# Starts `redis` or `sentinel`, whichever is named. Each start asks anew who the primary is: the
# other Sentinels, then what this pod's own Sentinel knew last, then the first peer.
#
# PEERS: all names of hosts, the first primary first. SELF: this one's. DATA: folder that stays.
# API_PASSWORD and so on: of the users in users.acl; REDISCLI_AUTH: what Sentinels ask for.
set -eu

primary() {
    for peer in $PEERS; do
        [ "$peer" != "$SELF" ] || continue
        found=$(timeout 3 redis-cli -h "$peer" -p "$SENTINEL_PORT" \
            sentinel get-master-addr-by-name blurline 2>/dev/null | head -n 1) || true
        case " $PEERS " in *" ${found:-?} "*) echo "$found" && return ;; esac
    done
    if [ -f "$DATA/sentinel.conf" ]; then
        found=$(sed -n 's/^sentinel monitor blurline \([^ ]*\) .*/\1/p' "$DATA/sentinel.conf")
        case " $PEERS " in *" ${found:-?} "*) echo "$found" && return ;; esac
    fi
    echo "${PEERS%% *}"
}

redis() {
    first=$(primary)
    {
        echo "include $CONFIG/redis.conf"
        echo "dir $DATA"
        echo "port $REDIS_PORT"
        echo "replica-announce-ip $SELF"
        echo "aclfile $DATA/users.acl"
        echo "masteruser replica"
        echo "masterauth $REPLICA_PASSWORD"
        [ "$first" = "$SELF" ] || echo "replicaof $first $REDIS_PORT"
    } > "$DATA/redis.conf"
    export ACL="$DATA/users.acl" CONFIG
    exec sh "$CONFIG/users.sh" redis-server "$DATA/redis.conf"
}

# A Sentinel writes what it learns into its file, its own name for the others too, so that the file
# is made once only, but for the passwords, which may have been changed.
sentinel() {
    if [ ! -s "$DATA/sentinel.conf" ]; then
        first=$(primary)
        {
            echo "port $SENTINEL_PORT"
            echo "dir $DATA"
            echo "protected-mode no"
            echo "sentinel resolve-hostnames yes"
            echo "sentinel announce-hostnames yes"
            echo "sentinel announce-ip $SELF"
            echo "sentinel monitor blurline $first $REDIS_PORT 2"
            echo "sentinel down-after-milliseconds blurline $DOWN_AFTER"
            echo "sentinel failover-timeout blurline 30000"
        } > "$DATA/sentinel.new"
        mv "$DATA/sentinel.new" "$DATA/sentinel.conf"
    fi
    {
        grep -Ev '^(requirepass|user default|sentinel (auth|sentinel)-(user|pass)) ' \
            "$DATA/sentinel.conf"
        echo "requirepass $REDISCLI_AUTH"
        echo "sentinel auth-user blurline sentinel"
        echo "sentinel auth-pass blurline $SENTINEL_PASSWORD"
    } > "$DATA/sentinel.new"
    mv "$DATA/sentinel.new" "$DATA/sentinel.conf"
    exec redis-server "$DATA/sentinel.conf" --sentinel
}

"$1"
