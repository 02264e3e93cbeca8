#!/bin/sh
# Writes users.acl with the passwords of the environment in it, as hashes, to the file that ACL names,
# then becomes the command that it is given. A user without a password can't come in.
set -eu

hash() {
    if [ -n "$1" ]; then printf %s "$1" | sha256sum | cut -c 1-64; else printf %064d 0; fi
}

sed -e "s/#API_HASH/#$(hash "${API_PASSWORD:-}")/" \
    -e "s/#WORKER_HASH/#$(hash "${WORKER_PASSWORD:-}")/" \
    -e "s/#OPERATOR_HASH/#$(hash "${OPERATOR_PASSWORD:-}")/" \
    -e "s/#SCALER_HASH/#$(hash "${SCALER_PASSWORD:-}")/" \
    -e "s/#REPLICA_HASH/#$(hash "${REPLICA_PASSWORD:-}")/" \
    -e "s/#SENTINEL_HASH/#$(hash "${SENTINEL_PASSWORD:-}")/" \
    "${CONFIG:-/config}/users.acl" > "$ACL"
exec "$@"
