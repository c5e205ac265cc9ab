#!/bin/sh
# What `npm start`, `npm test` and `npm run bench` run: sets up what is missing, then hands over to the demo, the whole
# test-suite or the benchmarks. Options go through: `npm start -- --help`.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

purpose=$1
shift
case $purpose in
  start) script=scripts/demo.ts command='npm start' ;;
  test) script=scripts/test.ts command='npm test' ;;
  bench) script=bench/run.ts command='npm run bench' ;;
esac
if [ "$(id -u)" != 0 ]; then
  echo "$command works in network namespaces, which only root may make: sudo $command" >&2
  exit 1
fi
sh scripts/setup.sh "$purpose" "$@"
for argument; do # --yes was for the set-up
  shift
  [ "$argument" = --yes ] || set -- "$@" "$argument"
done
exec node_modules/.bin/node "$script" "$@"
