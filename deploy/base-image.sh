#!/bin/sh
# Makes a base image from Debian's packages, for machines that reach a Debian mirror and a package
# index but no image registry. It trusts the certificates that this machine trusts.
#
#   sudo deploy/base-image.sh blurline-base:local
#   docker build --build-arg PYTHON_IMAGE=blurline-base:local --target api .
set -eu

tag=${1:?give the image a name, such as blurline-base:local}
suite=${SUITE:-bookworm}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/root

debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
    "$suite" "$root" ${MIRROR:+"$MIRROR"}

# What images leave out: no one reads manuals in them.
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log \
    "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/info/* \
    "$root"/usr/share/locale/*
certificates=/etc/ssl/certs/ca-certificates.crt
cp "$certificates" "$root$certificates"
printf '[global]\ncert = %s\n' "$certificates" > "$root/etc/pip.conf"

tar --directory "$root" --create --exclude ./dev --exclude ./proc --exclude ./sys . |
    docker import --message "Debian $suite with Python" - "$tag"
