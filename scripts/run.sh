#!/bin/sh
# What `npm start`, `npm test`, `npm run bench`, `npm run soak`, `npm run compare` and `npm run package` run: sets up what is
# missing, then hands over to the demo, the test-suite, the benchmarks, the soak, the comparison of builds or the making of
# packages. Options go through:
# `npm start -- --help`.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin
export PATH

purpose=$1
shift
case $purpose in
  start) script=scripts/demo.ts command='npm start' ;;
  test) script=scripts/test.ts command='npm test' ;;
  bench) script=bench/run.ts command='npm run bench' ;;
  soak) script=bench/soak.ts command='npm run soak' ;;
  compare) script=scripts/compare-builds.ts command='npm run compare' ;;
  package) script=packaging/package.ts command='npm run package' ;;
esac
if [ "$purpose" != package ] && [ "$(id -u)" != 0 ]; then
  echo "$command creates network namespaces, which needs root: run sudo $command" >&2
  exit 1
fi
needs=$purpose
case $purpose in
  soak) needs=bench ;;
  compare) needs="test" ;;
esac
sh scripts/setup.sh "$needs" "$@"
for argument; do # --yes was for the set-up
  shift
  [ "$argument" = --yes ] || set -- "$@" "$argument"
done
exec node_modules/.bin/node "$script" "$@"
