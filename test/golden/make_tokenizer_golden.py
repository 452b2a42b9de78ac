"""Writes tokenizer.json beside this script: token ids of Hugging Face's `tokenizers` for the small model's vocabulary.

    pip install tokenizers==0.23.3
    python make_tokenizer_golden.py /path/to/the/model's/tokenizer.json

Per evaluation text the number of ids and the SHA-256 of the ids as little-endian u32, for the first 20 also the ids;
for a few hundred awkward strings all ids, and, where the string has "<|", the ids with control tokens as plain text.
"""
import hashlib
import json
import random
import struct
import sys
from pathlib import Path

from tokenizers import Tokenizer

HERE = Path(__file__).parent
EVAL = HERE.parent.parent / "models" / "eval"

HAND = [
    "", " ", "  ", "   a", "a   ", "a   b", "\n", "\n\n", " \n ", "\r\n", "a\r\nb\r\n\r\nc", "\t", "\t\tx", "a\tb", "\u000b\u000c",
    "\u0000", "a\u0000b", "\u0001\u0004\u001f\u007f", "\u0085", "a\u0085b", "x \u0085 y", "\u00a0", "a\u00a0b", " \u00a0 z",
    "\u2003\u2009thin", "\u3000x", "\ufeff", "\ufeffa", "a \ufeffb", "\u200b", "a\u200bb", "\u200d", "\u2028\u2029",
    "0", "123", " 123", "1 2 3", "3.14159", "1,000,000", "a1b2", "\u0663\u0664", " \u0663", "\u00b2\u00b3", "x\u00b2", " \u00bd", "\u2167\u2168", "\u2460\u2461", "\u4e00\u4e8c\u4e09",
    "don't", "DON'T", "I'll we've you're he'd I'm it's", "'s", " 's", "''s", "\u2019s", "'", "'ll'll",
    "Hello, world!", "hello world", " hello", "hello ", "HELLO", "hElLo", "...", "?!?!", "a.b.c", "http://example.com/a?b=c&d=e#f",
    "{\"a\": [1, 2, {\"b\": null}]}", "for (let i = 0; i < 10; i++) {}", "\\n\\t\\\\", "<html></html>", "_under_score_", "C++ & C#",
    "\u00e9", "e\u0301", "\u00c5ngstr\u00f6m", "na\u00efve caf\u00e9", "\u0915\u094d\u0937\u093f", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627",
    "\u4f60\u597d\uff0c\u4e16\u754c", "\u3053\u3093\u306b\u3061\u306f", "\uc548\ub155\ud558\uc138\uc694", "\u1100\u1161\u11a8", "\u041f\u0440\u0438\u0432\u0435\u0442", "\u0393\u03b5\u03b9\u03ac", "Z\u0351\u036b\u0343a\u0328l\u0322g\u0321o\u0337",
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd", "a\U0001f600b", " \U0001f600", "\u2764\ufe0f", "\U0001d54f\U0001d7d8", "\U00020000",
    "\ue000", "\ue000\uf8ff", "\U000f0000", "\ufffd", "\ufffe", "\uffff", "\U0010ffff",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>user\nHi<|im_end|>\n", " <|im_end|> ", "<|im_end|><|im_end|>",
    "<|im_end|", "<|im_end|>>", "<<|im_end|>", "<|im_<|im_end|>end|>", "< |im_end|>", "<|IM_END|>", "a<|im_start|>1<|endoftext|>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "=" * 80, "-" * 79, " " * 300, "\n" * 50, "a" * 600, "ab" * 400, "\u00e9" * 200, " a" * 100, "thethethe" * 60,
]

POOLS = [
    "abcdefghijklmnopqrstuvwxyz ABC", " \t\r\n\u000b\u0085\u00a0\u3000\u2003a", "0123456789.,-+ ", "'sdtmrevl \u2019", "!?.,;:()[]{}<>|_-=\"'`~@#$%^&*/\\ a",
    "\u00e9\u00e8\u0301\u0308\u00df\u00f8 a", "\u0430\u0431\u0432 \u0394\u03a9\u4f60\u597d\u3042\uac00\u0915\u094d", "\U0001f600\U0001f44d\U0001f3fd\u200d\ufe0f\u2764 a", "\u0000\u0001\u001b\u007f\u0080\u009f a",
    "\ue000\uf8ff\ufffd\ufeff\u200b\u2060 a", "\u00b2\u00bd\u0663\u06f5\u2167\u2460\U0001d7d8 1a",
]
PIECES = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_", "end|>", "<|", "|>", "user", "assistant", "\n", " ", "The cat", " sat", "42", "\U0001f600", "'s"]
LETTERS = "\u0061\u007a\u00e9\u0416\u05d0\u0627\u0905\u0e01\u10d0\u1e00\u3042\u4e00\uac00"


def awkward() -> list[str]:
    rng = random.Random(20240611)
    texts = list(HAND)
    for pool in POOLS:
        texts += ["".join(rng.choice(pool) for _ in range(rng.randint(1, 40))) for _ in range(12)]
    texts += ["".join(rng.choice(PIECES) for _ in range(rng.randint(1, 12))) for _ in range(60)]
    mixed = "".join(POOLS) + LETTERS
    texts += ["".join(rng.choice(mixed) for _ in range(rng.randint(1, 120))) for _ in range(60)]
    return list(dict.fromkeys(texts))


def main() -> None:
    path = sys.argv[1]
    tokenizer = Tokenizer.from_file(path)
    literal = Tokenizer.from_str(json.dumps({**json.loads(Path(path).read_text()), "added_tokens": []}))
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    digest = lambda ids: hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()

    def summary(name: str, text_of) -> list[dict]:
        lines = (EVAL / name).read_text().splitlines()
        all_ids = [encode(text_of(json.loads(line))) for line in lines]
        return [
            {"count": len(ids), "sha256": digest(ids), **({"ids": ids} if index < 20 and len(ids) < 1500 else {})}
            for index, ids in enumerate(all_ids)
        ]

    strings = [
        {"text": text, "ids": encode(text), **({"literal": literal.encode(text, add_special_tokens=False).ids} if "<|" in text else {})}
        for text in awkward()
    ]
    golden = {
        "heldout_text": summary("heldout_text.jsonl", lambda line: line["text"]),
        "retrieval": summary("retrieval.jsonl", lambda line: line["prompt"] + line["answer"]),
        "strings": strings,
    }
    rows = lambda items: "[\n" + ",\n".join(json.dumps(item, separators=(",", ":")) for item in items) + "\n]"
    body = ",\n".join(f"{json.dumps(name)}: {rows(items)}" for name, items in golden.items())
    (HERE / "tokenizer.json").write_text("{\n" + body + "\n}\n")
    print({name: len(items) for name, items in golden.items()})


main()
