#!/bin/sh
# Installs flannel from this directory on any Linux host, or removes it again. Run it again with a newer directory to
# upgrade. Without installing, bin/flanneld and bin/flannelctl run from here as well, from a read-only medium too.
set -eu

usage() {
  cat <<TEXT
Usage: ${0##*/} [--prefix DIR] [--remove]

  --prefix DIR  where the programs go (default /opt/flannel); links to them go into /usr/local/bin and /usr/local/sbin
  --remove      stop the services and remove the programs; configuration and data stay
TEXT
}

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

source=$(cd "$(dirname "$0")" && pwd)
prefix=/opt/flannel
action=install
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) [ $# -ge 2 ] || fail "--prefix needs a directory"; prefix=$2; shift ;;
    --prefix=*) prefix=${1#*=} ;;
    --remove) action=remove ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
case $prefix in
  / | "") fail "--prefix $prefix: name a directory of flannel's own" ;;
  /*) ;;
  *) fail "--prefix $prefix: an absolute path is needed" ;;
esac
[ "$(id -u)" = 0 ] || fail "needs root: run it with sudo"
if [ -e "$prefix" ] && [ ! -e "$prefix/bin/flanneld" ]; then fail "$prefix exists and is not flannel's; choose another --prefix"; fi
# flannelctl init and join put theirs into /etc/systemd/system, which precede these.
units=/usr/local/lib/systemd/system
shared=/usr/local/share

link() { # PROGRAM DIRECTORY
  mkdir -p "$2"
  ln -sfn "$prefix/bin/$1" "$2/$1"
}

place_units() {
  [ -d /etc/systemd ] || return 0
  mkdir -p "$units"
  for unit in flanneld flannel-store; do
    sed -n '/^\[Unit\]/,$p' "$prefix/deploy/$unit.service" | sed "s|/opt/flannel|$prefix|g" >"$units/.$unit.new"
    mv "$units/.$unit.new" "$units/$unit.service"
  done
}

install_all() {
  [ "$source" != "$prefix" ] || fail "already in $prefix"
  case $prefix in "$source"/*) fail "--prefix $prefix is inside of $source" ;; esac
  "$source/bin/flanneld" --version >/dev/null || fail "the programs do not run on this host: is it $(uname -m) with glibc 2.28 or newer?"
  mkdir -p "$(dirname "$prefix")"
  rm -rf "$prefix.new" "$prefix.old"
  cp -R "$source" "$prefix.new"
  chown -R 0:0 "$prefix.new"
  if [ -e "$prefix" ]; then mv "$prefix" "$prefix.old"; fi
  mv "$prefix.new" "$prefix"
  rm -rf "$prefix.old"
  link flannelctl /usr/local/bin
  link mk-docker-opts /usr/local/bin
  link flanneld /usr/local/sbin
  link flannel-store /usr/local/sbin
  mkdir -p /etc/default "$shared/man/man1" "$shared/man/man8"
  for name in flanneld flannel-store; do
    [ -e "/etc/default/$name" ] || cp "$prefix/defaults/$name" "/etc/default/$name"
  done
  for section in 1 8; do
    for page in "$prefix/man/man$section"/*; do ln -sfn "$page" "$shared/man/man$section/${page##*/}"; done
  done
  place_completion bash-completion/completions flannelctl.bash flannelctl
  place_completion zsh/site-functions _flannelctl _flannelctl
  place_completion fish/vendor_completions.d flannelctl.fish flannelctl.fish
  place_units
  sh "$prefix/scripts/after-install.sh"
  echo "flannel $(cat "$prefix/VERSION") is in $prefix. Next: flannelctl init, or flannelctl join, or /etc/default/flanneld and systemctl enable --now flanneld"
}

place_completion() { # DIRECTORY FILE NAME
  mkdir -p "$shared/$1"
  ln -sfn "$prefix/completions/$2" "$shared/$1/$3"
}

remove_all() {
  [ -e "$prefix/bin/flanneld" ] || fail "there is no flannel in $prefix"
  sh "$prefix/scripts/before-remove.sh" remove archive
  for unit in flanneld flannel-store; do
    [ -e "$units/$unit.service" ] || continue
    systemctl disable "$unit" 2>/dev/null || :
    rm -f "$units/$unit.service"
  done
  for path in /usr/local/bin/flannelctl /usr/local/bin/mk-docker-opts /usr/local/sbin/flanneld /usr/local/sbin/flannel-store \
    "$shared/man/man1/flannelctl.1" "$shared/man/man8/flanneld.8" "$shared/man/man8/flannel-store.8" \
    "$shared/bash-completion/completions/flannelctl" "$shared/zsh/site-functions/_flannelctl" \
    "$shared/fish/vendor_completions.d/flannelctl.fish"; do
    if [ -L "$path" ]; then rm -f "$path"; fi
  done
  rm -rf "$prefix"
  if [ -d /run/systemd/system ]; then systemctl daemon-reload || :; fi
}

case $action in
  install) install_all ;;
  remove) remove_all ;;
esac
