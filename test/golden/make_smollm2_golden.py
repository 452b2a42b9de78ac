"""Copies the parts of the reference folder that the project may hold: the prompts `chat` and `unicode` with their golden
numbers. The third-party texts (english200, nll_text) stay outside; tests read them from the folder when it is given.

    python3 test/golden/make_smollm2_golden.py REFERENCE_FOLDER
"""
import json
import shutil
import sys
from pathlib import Path

source = Path(sys.argv[1]) / "golden"
target = Path(__file__).parent / "smollm2"
keys = ["name", "text", "ids", "last_logits", "greedy64", "greedy64_top1_minus_top2", "greedy64_text"]
golden = json.loads((source / "golden.json").read_text())
prompts = [p for p in golden["prompts"] if p["name"] in ("chat", "unicode")]
for prompt in prompts:
    shutil.copyfile(source / prompt["last_logits"]["file"], target / prompt["last_logits"]["file"])
out = {"model_sha256": golden["model_sha256"], "prompts": [{key: p[key] for key in keys} for p in prompts]}
(target / "golden.json").write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")
