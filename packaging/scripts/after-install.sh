#!/bin/sh
# After the files of a package are in place, at an installation and at an upgrade: compiles the programs, and restarts the
# services that this host has switched on. Others are not started: the host has no configuration yet.
set -e
home=$(cd "${0%/*}/.." && pwd)

# Compiled code makes a start a fifth faster; it belongs to this Node on this machine, so it is made here. An older version's
# is of no use any more.
rm -rf "$home/dist/compile-cache"
for program in flanneld flannelctl flannel-store; do
  "$home/bin/$program" --version >/dev/null || echo "flannel: $program does not start on this host" >&2
done

[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || :
# The administrator's word about starting services.
if [ -x /usr/sbin/policy-rc.d ] && ! /usr/sbin/policy-rc.d flanneld restart >/dev/null 2>&1; then exit 0; fi
for unit in flannel-store flanneld; do
  if systemctl --quiet is-active "$unit" || systemctl --quiet is-enabled "$unit" 2>/dev/null; then
    # Does not wait: the agent is started when its store answers, which may be after this package.
    systemctl --no-block restart "$unit" || :
  fi
done
