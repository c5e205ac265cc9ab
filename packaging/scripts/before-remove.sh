#!/bin/sh
# usage: before-remove.sh remove|upgrade dpkg|rpm|archive
# Before the files of a package go, at a removal and at an upgrade. An upgrade leaves the services alone: they are restarted
# once, with the new files.
set -e
home=$(cd "${0%/*}/.." && pwd)
rm -rf "$home/dist/compile-cache"
case ${1:-} in upgrade) exit 0 ;; esac

if [ -d /run/systemd/system ]; then
  for unit in flanneld flannel-store; do systemctl stop "$unit" 2>/dev/null || :; done
fi
cat <<TEXT
flannel: the agent is stopped. What it set up stays until the next boot, so that containers keep their connections:
flannel:   devices (ip link show type vxlan; flannel.N, flannel0), routes (ip route show proto 241), traffic rules.
flannel: To remove that as well, install the package again and run: flannelctl cleanup --all
flannel: The lease expires within 24 hours.
TEXT
data="/etc/flannel, /var/lib/flannel and /var/lib/flannel-store"
by_hand="delete them by hand when you need them no more."
case ${2:-} in
  dpkg) echo "flannel: Configuration, keys and data stay in /etc/default, $data; purging the package deletes them." ;;
  rpm) echo "flannel: Keys and data stay in $data, changed files of /etc/default as *.rpmsave; $by_hand" ;;
  *) echo "flannel: Configuration, keys and data stay in /etc/default, $data; $by_hand" ;;
esac
