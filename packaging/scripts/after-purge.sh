#!/bin/sh
# After a purge: what the programs wrote by themselves goes, the data of a store included.
rm -rf /etc/flannel /var/lib/flannel /var/lib/flannel-store /run/flannel
for unit in flanneld flannel-store; do
  file=/etc/systemd/system/$unit.service
  # Units of the administrator stay.
  if [ -f "$file" ] && head -n 1 "$file" | grep -q '^# Made by flannelctl'; then
    rm -f "$file" "/etc/systemd/system/multi-user.target.wants/$unit.service"
  fi
done
if [ -d /run/systemd/system ]; then systemctl daemon-reload || :; fi
