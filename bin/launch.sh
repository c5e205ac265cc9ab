# shellcheck shell=sh
# Sourced by the launchers with `program` and `self` (the launcher, links resolved) set: chooses a Node and replaces the
# shell by the program, so that process id, signals, memory and exit code are the program's. This script is part of the time
# from process start to ready: it starts no other process where the shell itself is enough.

# A daemon that is asked to end before it has begun has ended. Its own handlers come with its first lines.
# shellcheck disable=SC2154 # set by the launcher
case $program in
  flanneld | flannel-store)
    trap 'exit 0' TERM INT QUIT
    trap '' HUP USR1 USR2 ALRM
    ;;
esac

# What the environment says to Node is for other programs: a debugger, other modules, TLS without checks, secrets in the
# log. Options that are meant for these go into FLANNEL_NODE_OPTIONS.
unset NODE_DEBUG NODE_DEBUG_NATIVE NODE_TLS_REJECT_UNAUTHORIZED NODE_V8_COVERAGE NODE_REDIRECT_WARNINGS
unset NODE_PENDING_DEPRECATION NODE_USE_ENV_PROXY NODE_PATH NODE_CHANNEL_FD NODE_CHANNEL_SERIALIZATION_MODE NODE_UNIQUE_ID
unset NODE_OPTIONS
if [ -n "${FLANNEL_NODE_OPTIONS:-}" ]; then export NODE_OPTIONS="$FLANNEL_NODE_OPTIONS"; fi

root=${self%/*}/..
bundle=$root/dist/$program.mjs

if ! [ -f "$bundle" ] || ! [ -f "$root/dist/build-stamp" ]; then
  echo "$program: the program is not built: run 'npm run build' in $(cd "$root" && pwd)" >&2
  exit 1
fi

if [ -d "$root/src" ]; then
  newer=$(find "$root/src" \( -name '*.ts' -o -name '*.tsx' -o -name '*.css' \) ! -name '*.test.ts' -newer "$root/dist/build-stamp" -print -quit)
  if [ -n "$newer" ]; then
    echo "$program: warning: ${newer#"$root"/} is newer than the program built from it: run 'npm run build'" >&2
  fi
fi

# In this order: FLANNEL_NODE, the Node of a package, the Node that set-up installed in the checkout, the system's.
node=${FLANNEL_NODE:-}
if [ -z "$node" ]; then
  for candidate in "$root"/node_modules/node-linux-*/bin/node "$root/node/bin/node"; do
    if [ -x "$candidate" ]; then node=$candidate; fi
  done
fi
if [ -z "$node" ]; then
  node=$(command -v node) || node=
  check='const [major, minor] = process.versions.node.split("."); process.exit(major > 22 || (major == 22 && minor >= 18) ? 0 : 1)'
  if [ -z "$node" ] || ! "$node" -e "$check"; then
    found=${node:+"only $("$node" --version)"}
    echo "$program: needs Node.js 22.18 or newer, but this system has ${found:-none}: run 'npm run build' in" \
      "$(cd "$root" && pwd), which installs one in the checkout, or name one in FLANNEL_NODE" >&2
    exit 1
  fi
fi

# Compiled code, made by the build's trial start: about a fifth of the time to ready.
export NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE:-$root/dist/compile-cache}"
# One arena for malloc is 3 MB less in flanneld and 6 in flannel-store, and keeps what V8's helpers leave in one place; young
# objects in 6 MB instead of 48 are no slower. What is for the store stands in src/agent/lifecycle/embedded-store-process.ts too.
# flannel-store and flannelctl init load SQLite, which Node 22 reports as experimental.
# --disable-sigusr1: SIGUSR1 would open Node's debugger to all users of the host.
# No flag here may change what V8 makes of the code (v8.cachedDataVersionTag): the build's compiled code would be useless.
case $program in
  flannelctl) exec "$node" --disable-sigusr1 --disable-warning=ExperimentalWarning --max-semi-space-size=4 "$bundle" "$@" ;;
esac
export MALLOC_ARENA_MAX=1
case $program in
  flannel-store) exec "$node" --disable-sigusr1 --disable-warning=ExperimentalWarning --max-semi-space-size=2 "$bundle" "$@" ;;
esac
exec "$node" --disable-sigusr1 --max-semi-space-size=2 "$bundle" "$@"
