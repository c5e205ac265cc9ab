#!/bin/sh
# The first process of a machine of the lab, in namespaces of its own: gives the machine its file systems, tells that it is
# up by making the file `up`, and collects orphans for as long as the machine lives.
#
#   machine.sh NAME DIRECTORY PLUGINS
#
# DIRECTORY is the machine's disk: what was written to /etc, /opt and /var is there after a reboot, /run is not. Its folder
# `lab` is /run/lab in the machine. /opt/cni/bin gets the standard plugins of the directory PLUGINS.
set -eu
name=$1
disk=$2
plugins=$3

hostname "$name"
first_boot=no
[ -d "$disk/etc" ] || first_boot=yes
rm -rf "$disk/run" "$disk/up"
mkdir -p "$disk/run/lab" "$disk/cgroup" "$disk/containerd" "$disk/kubelet"
for directory in etc opt var; do
  mkdir -p "$disk/$directory" "$disk/work-$directory"
  mount -t overlay overlay "/$directory" -o \
    "lowerdir=/$directory,upperdir=$disk/$directory,workdir=$disk/work-$directory"
done
# What the machine's own packages have put there (podman does) would be the node's network.
[ $first_boot = no ] || rm -rf /etc/cni /opt/cni
mkdir -p /var/lib/containerd /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers /etc/cni/net.d /opt/cni/bin
# An overlay cannot lie on an overlay.
mount --bind "$disk/containerd" /var/lib/containerd
mount --bind "$disk/kubelet" /var/lib/kubelet
# /sys of this network namespace, the machine's control groups in it.
mount --rbind /sys/fs/cgroup "$disk/cgroup"
mount -t sysfs sys /sys
mount --rbind "$disk/cgroup" /sys/fs/cgroup
mount --bind "$disk/lab" "$disk/run/lab"
mkdir -p "$disk/run/netns" "$disk/run/lock" "$disk/run/flannel" "$disk/run/containerd"
: >"$disk/run/xtables.lock"
# The kubelet looks for its own file system among all mounts: none may be hidden below the new /run.
mkdir -p "$disk/run${disk#/run}"
mount --bind "$disk" "$disk/run${disk#/run}"
mount --rbind "$disk/run" /run
# Volumes of pods with mount propagation need it.
mount --make-rshared /
: >/etc/resolv.conf
# As systemd does at boot, for what concerns this lab.
systemd-tmpfiles --remove --boot --prefix=/etc/cni
for plugin in bridge host-local loopback portmap; do
  cp "$plugins/$plugin" /opt/cni/bin/
done
: >/run/lab/up

while :; do
  sleep 3600 &
  wait $!
done
