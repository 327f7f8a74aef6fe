#!/bin/bash
# Writes Generated/*.swift and descriptors.pb from the proto files; with --check writes nothing and fails, showing the
# difference, unless the committed files are what would be written.
#
# Needs protoc and its own proto files (Debian: protobuf-compiler libprotobuf-dev). The two plugins are built from this
# package's dependencies, or taken from the folder named by PROTOC_PLUGINS. SWIFT_BUILD_OPTIONS go to `swift build`,
# for example "--scratch-path /somewhere".
set -euo pipefail
export LC_ALL=C SWIFT_DETERMINISTIC_HASHING=1

protos=$(cd "$(dirname "$0")" && pwd)
room=$(dirname "$protos")
package=$(dirname "$(dirname "$room")")

case "${1-}" in
  --check) check=yes ;;
  "") check=no ;;
  *) echo "usage: $0 [--check]" >&2; exit 64 ;;
esac
if ! command -v protoc >/dev/null || ! [ -f /usr/include/google/protobuf/descriptor.proto ]; then
  echo "protoc is missing: apt-get install protobuf-compiler libprotobuf-dev" >&2
  exit 69
fi

plugins=${PROTOC_PLUGINS-}
if [ -z "$plugins" ]; then
  read -ra options <<<"${SWIFT_BUILD_OPTIONS-}"
  build=(swift build --package-path "$package" "${options[@]}")
  "${build[@]}" --product protoc-gen-swift >&2
  "${build[@]}" --product protoc-gen-grpc-swift-2 >&2
  plugins=$("${build[@]}" --show-bin-path)
fi
swift_plugin=$plugins/protoc-gen-swift
grpc_plugin=$plugins/protoc-gen-grpc-swift-2
# SwiftPM names a dependency's executable PRODUCT, or PRODUCT-tool where it builds it for the host.
[ -x "$swift_plugin" ] || swift_plugin=$swift_plugin-tool
[ -x "$grpc_plugin" ] || grpc_plugin=$grpc_plugin-tool

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
mkdir "$fresh/Generated"
cd "$protos"
mapfile -t files < <(find . -name '*.proto' -printf '%P\n' | sort)
options=Visibility=Public,FileNaming=PathToUnderscores,UseAccessLevelOnImports=true
protoc -I . -I /usr/include \
  --plugin=protoc-gen-swift="$swift_plugin" --plugin=protoc-gen-grpc-swift-2="$grpc_plugin" \
  --swift_opt="$options" --swift_out="$fresh/Generated" \
  --grpc-swift-2_opt="$options" --grpc-swift-2_out="$fresh/Generated" \
  --include_imports --descriptor_set_out="$fresh/descriptors.pb" \
  "${files[@]}"

if [ "$check" = yes ]; then
  if ! { diff -ru "$room/Generated" "$fresh/Generated" && cmp "$room/descriptors.pb" "$fresh/descriptors.pb"; }; then
    echo "the generated files are not what the proto files make ($(protoc --version)): run $0 and commit" >&2
    exit 1
  fi
  echo "generated files are fresh (${#files[@]} proto files)"
else
  rm -rf "$room/Generated"
  cp -r "$fresh/Generated" "$room/Generated"
  cp "$fresh/descriptors.pb" "$room/descriptors.pb"
  echo "wrote $(find "$room/Generated" -name '*.swift' | wc -l) Swift files and descriptors.pb"
fi
