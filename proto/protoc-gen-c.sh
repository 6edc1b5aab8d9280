#!/bin/sh
# protoc's plugin for C. protoc-gen-c 1.4 already writes right code for proto3 `optional` fields (a
# one-member oneof each) but does not say so, and protoc then refuses the file. This adds the saying:
# field 2 (supported_features) = 1 of the plugin's CodeGeneratorResponse.
set -e
protoc-gen-c "$@"
printf '\020\001'
