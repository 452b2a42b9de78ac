#!/usr/bin/env bash
# A pipeline without a network: questions on stdin, a line each; a prompt pack, made once; an answer to each as a line of JSON;
# and all answers together as the next prompt. Data goes to stdout, what is said about it to stderr.
#
#   printf '%s\n' "What is the capital of France?" "What do cats eat?" | bash examples/cli-pipeline.sh
set -euo pipefail
thimble() { ${THIMBLE:-npx thimble} "$@"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A pack is for one form of keys and values: say a context, or a budget takes smaller forms to fit a longer one.
thimble pack --context 1024 --system "Answer in one short sentence." --output "$work/brief.pack" > /dev/null
while IFS= read -r question; do
  printf '%s' "$question" | thimble run --pack "$work/brief.pack" --context 1024 --budget 24MB --temperature 0 --max-tokens 40 --json
done > "$work/answers.jsonl"

# {"text": ..., "usage": ..., "timings": ...}: every tool that reads JSON can go on from here.
node -e '
  const lines = require("fs").readFileSync(0, "utf8").trim().split("\n").map((line) => JSON.parse(line));
  for (const { text, usage } of lines) {
    console.error(`${usage.promptTokens} tokens of prompt, ${usage.reusedTokens} of them from the pack`);
    console.log(text.replace(/\s+/g, " "));
  }' < "$work/answers.jsonl" | tee "$work/answers.txt"

echo "--"
{ echo "Tell me a story about this."; cat "$work/answers.txt"; } | thimble run --temperature 0 --max-tokens 60
