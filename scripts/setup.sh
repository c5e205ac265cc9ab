#!/bin/sh
# Makes this checkout ready to use and says what it does; a second run finds nothing to do and is quick. Plain sh, since
# there may be neither node_modules nor a usable Node yet.
#
#   setup.sh tools|start|test|bench|package [--yes]
#
# tools: npm packages, the pinned Node, the bundle. The others: what the demo, the tests, the benchmarks or packages need from
# Debian as well, asked for on a terminal unless --yes or --once is given or CI=true.
set -eu

node_version=24.21.0
npm_version=11.21.2

purpose=$1
shift
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

wants_etcd=no
case " $* " in *" --store=etcd "* | *" --store etcd "*) wants_etcd=yes ;; esac

say() { printf 'set-up: %s\n' "$*" >&2; }
fail() {
  say "$@"
  exit 1
}

# --- Debian packages -------------------------------------------------------------------------------------------------

missing=
want() { # PACKAGE PROGRAM
  command -v "$2" >/dev/null || missing="$missing $1"
}

find_missing_packages() {
  if [ "$purpose" = package ] || [ "$purpose" = test ]; then
    want dpkg dpkg-deb
    want rpm rpmbuild
    want binutils-x86-64-linux-gnu x86_64-linux-gnu-strip
    want binutils-aarch64-linux-gnu aarch64-linux-gnu-strip
  fi
  [ "$purpose" != package ] || return 0
  want iproute2 ip
  want iptables iptables
  want nftables nft
  want iperf3 iperf3
  want iputils-ping ping
  want procps sysctl
  want ethtool ethtool
  # The demo keeps its leases in flannel-store, unless another store is given.
  if [ "$purpose" = test ] || [ "$purpose" = bench ] || [ "$wants_etcd" = yes ]; then
    want etcd-server etcd
    want etcd-client etcdctl
  fi
  if [ "$purpose" = test ] || [ "$purpose" = bench ]; then
    want socat socat
    want build-essential cc
    want chromium chromium
  fi
  if [ "$purpose" = test ]; then
    want debootstrap debootstrap
    want groff-base groff
    want tshark tshark
    want tcpdump tcpdump
    want openssl openssl
    want shellcheck shellcheck
    want docker.io dockerd
    want containerd containerd
    want runc runc
    want podman podman
    want docker-compose docker-compose
    want qemu-user-static qemu-aarch64-static
    [ -x /usr/lib/cni/bridge ] || missing="$missing containernetworking-plugins"
    want ipset ipset
    want busybox-static busybox
    want firewalld firewalld
    want dbus-daemon dbus-daemon
    want wireguard-go wireguard-go
    want wireguard-tools wg
    # strongSwan: the daemon, its control interface, AES-GCM, and ESP in user space for kernels without it.
    [ -x /usr/lib/ipsec/charon ] || missing="$missing strongswan-charon"
    want strongswan-swanctl swanctl
    [ -e /usr/lib/ipsec/plugins/libstrongswan-gcm.so ] || missing="$missing libstrongswan-standard-plugins"
    [ -e /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so ] || missing="$missing libcharon-extra-plugins"
    want strace strace
    want zsh zsh
    want fish fish
    want systemd systemd-analyze
    want e2fsprogs mke2fs
    # In the images of Kubernetes' conformance tests.
    want netcat-openbsd nc.openbsd
    want bind9-dnsutils dig
    want curl curl
    want python3-pip pip3
    # There is none for other machines.
    if [ "$(uname -m)" = x86_64 ]; then
      want user-mode-linux linux.uml
      want qemu-system-x86 qemu-system-x86_64
      want cpio cpio
      want kmod depmod
      # For charon's profile on the emulated kernel.
      want apparmor aa-exec
    fi
    set -- /usr/lib/*/faketime/libfaketime.so.1
    [ -e "$1" ] || missing="$missing libfaketime"
  fi
}

assume_yes() { # ARGUMENT...
  # Nobody can be asked without a terminal.
  if [ "${CI:-}" = true ] || ! [ -t 0 ]; then return 0; fi
  for argument; do
    case $argument in --yes | --once) return 0 ;; esac
  done
  return 1
}

is_debian() {
  # shellcheck source=/dev/null
  family=$([ -r /etc/os-release ] && . /etc/os-release && echo " $ID ${ID_LIKE:-} ") || return 1
  case $family in *" debian "* | *" ubuntu "*) command -v apt-get >/dev/null ;; *) return 1 ;; esac
}

policy=/usr/sbin/policy-rc.d
policy_mark='# for the time of the set-up of flannel: packages start no services'

# Package scripts ask this file before they start a service; 101 is "no".
forbid_service_starts() {
  if [ -e "$policy" ] && ! grep -qxF "$policy_mark" "$policy"; then
    answer=0
    "$policy" etcd start >/dev/null 2>&1 || answer=$?
    [ "$answer" = 101 ] && return
    fail "$policy of this machine lets packages start services (etcd); install the packages by hand:" \
      "apt-get install --no-install-recommends$missing"
  fi
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' HUP TERM
  printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
  chmod 755 "$policy"
}

install_packages() (
  forbid_service_starts
  DEBIAN_FRONTEND=noninteractive
  export DEBIAN_FRONTEND
  apt-get -q -o DPkg::Lock::Timeout=300 update
  # shellcheck disable=SC2086 # a list of words
  apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install --no-install-recommends $missing
  case " $missing " in
    # Nor at the next boot: the tests and the demo run their own.
    *" etcd-server "*) update-rc.d etcd disable >/dev/null 2>&1 || : ;;
  esac
)

ensure_packages() {
  find_missing_packages
  [ -n "$missing" ] || return 0
  is_debian || fail "the set-up installs missing programs only on Debian and Ubuntu; install the programs of these Debian packages by hand:$missing"
  [ "$(id -u)" = 0 ] || fail "these Debian packages are missing, and installing them needs root:$missing"
  say "installing these Debian packages with apt-get, without starting a service:$missing"
  if ! assume_yes "$@"; then
    printf 'Install them now? [Y/n] ' >&2
    read -r answer || answer=n
    case $answer in '' | [Yy]*) ;; *) fail "nothing was changed" ;; esac
  fi
  mkdir -p .cache
  if ! install_packages >.cache/apt.log 2>&1; then
    tail -n 20 .cache/apt.log >&2
    fail "apt-get could not install the packages; its output is in .cache/apt.log"
  fi
}

# --- Node and npm packages -------------------------------------------------------------------------------------------

tools=.cache/node-$node_version/node_modules
stamp=node_modules/.set-up

expected_stamp() {
  echo "node $node_version"
  cat package-lock.json
}

# The pinned Node with a pinned npm: an old npm under an old Node silently leaves out the native parts of packages that
# want a newer Node.
ensure_node() {
  [ -x "$tools/.bin/node" ] && return
  case $(uname -m) in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) fail "there is no pinned Node for $(uname -m), only for x86_64 and aarch64" ;;
  esac
  command -v npm >/dev/null || fail "npm is missing: apt-get install npm"
  say "fetching Node $node_version into .cache"
  mkdir -p "${tools%/*}"
  npm install --prefix "${tools%/*}" --no-save --no-package-lock --ignore-scripts --loglevel=error \
    "node-linux-$arch@$node_version" "npm@$npm_version" >/dev/null || fail "npm could not fetch Node $node_version"
}

ensure_npm_packages() {
  expected_stamp | cmp -s - "$stamp" && [ -x node_modules/.bin/node ] && return
  mkdir -p .cache
  exec 9>.cache/set-up.lock
  flock 9
  expected_stamp | cmp -s - "$stamp" && [ -x node_modules/.bin/node ] && return
  ensure_node
  say "installing npm packages as locked"
  "$tools/.bin/node" "$tools/npm/bin/npm-cli.js" ci --ignore-scripts --loglevel=error >/dev/null ||
    fail "npm ci failed, see above"
  # npm would take it out again, being nobody's dependency: linked again after each npm ci.
  for package in "$tools"/node-linux-*; do ln -sfn "../$package" "node_modules/${package##*/}"; done
  ln -sf "../${package##*/}/bin/node" node_modules/.bin/node
  expected_stamp >"$stamp"
}

case $purpose in
  tools) ;;
  start | test | bench | package) ensure_packages "$@" ;;
  *) fail "usage: setup.sh tools|start|test|bench|package [--yes]" ;;
esac
ensure_npm_packages
node_modules/.bin/node scripts/build.ts --if-stale
