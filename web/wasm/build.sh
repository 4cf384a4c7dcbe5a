#!/bin/sh
# Builds the kernel, web/src/engines/student.wasm or the file named: web/wasm/build.sh [FILE].
# Needs clang with the wasm32 target, and wasm-ld.
set -e
cd "$(dirname "$0")"
exec clang --target=wasm32 -std=c11 -O3 -msimd128 -mbulk-memory -nostdlib -Wall -Wextra -Werror \
    -Wl,--no-entry,--export=__heap_base,--strip-all -Wl,-z,stack-size=16384 \
    -o "${1:-../src/engines/student.wasm}" student.c blocks.c winograd.c
