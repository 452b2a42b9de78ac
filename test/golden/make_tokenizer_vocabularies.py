"""Writes tokenizers/*.gguf beside this script: small vocabularies of every kind, trained on the evaluation texts.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3 gguf==0.19.0
    python make_tokenizer_vocabularies.py

- bytes.gguf: byte-level merges (1,600 tokens). They are trained without pre-tokenizer, so that merges reach over every
  place where a pre-tokenizer may cut; the same vocabulary serves all values of `tokenizer.ggml.pre`.
- plain.gguf: merges in plain spelling with byte tokens (`gemma4`).
- spm.gguf, unigram.gguf: SentencePiece, byte-pair with byte tokens, and unigram without, with a small character map.

Each has control tokens, user-defined ones and unused ones; the pieces are trained on punctuation, digits, white space
and scripts, too, which the texts lack.
"""
import json
import random
from pathlib import Path

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

HERE = Path(__file__).parent
EVAL = HERE.parent.parent / "models" / "eval"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

PIECES = [
    "don't", "I'll we've you're", "IT'S", " he'd", "1234567890", "2024-11-22", "3.14159", "1,000,000", "\u0663\u0664\u0665", "\u00bd\u00b2", "...", "?!", "()", "[]{}", "<=", "->", "||", "&&",
    "for (let i = 0; i < 10; i++) {\n  print(i);\n}\n", "https://example.com/a?b=c", "\n\n", "\r\n", "\t\t", "    ", " \n", "\u00e9t\u00e9 na\u00efve caf\u00e9", "\u00c5ngstr\u00f6m \u00dcber stra\u00dfe",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440", "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5", "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u3053\u3093\u306b\u3061\u306f\u30c6\u30b9\u30c8", "\uc548\ub155\ud558\uc138\uc694", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u0937\u093f", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627\u060c", "\U0001f600\U0001f44d\U0001f3fd", "e\u0301a\u0308", "CamelCase HTTPServer iPhone", "snake_case", "\u2018quoted\u2019 \u201ctext\u201d \u2014 dash\u2026", "\u00a0", "\u3000", "$5 + 3 = 8^2 ~ `x`",
]

RULES = {
    "\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "\u3000": " ", "\u200b": "", "\u2026": "...", "\ufb01": "fi", "\u00bd": "1/2", "e\u0301": "\u00e9", "a\u0308": "\u00e4",
    "\u2460": "1", "\u3231": "(\u682a)", "\U0001d54f": "X", "A\u030a": "\u00c5", "ab\u0323": "q",
    **{chr(0xFF01 + index): chr(0x21 + index) for index in range(94)},
}


def texts() -> list[str]:
    lines = [json.loads(line) for line in (EVAL / "heldout_text.jsonl").read_text().splitlines()]
    rng = random.Random(7)
    plain = [line["text"].replace("<|im_start|>", "").replace("<|im_end|>", "") for line in lines]
    mixed = [" ".join(rng.choice(PIECES) for _ in range(12)) for _ in range(400)]
    tight = ["".join(rng.choice(PIECES) for _ in range(12)) for _ in range(400)]
    return plain + mixed + tight


def add_keys(writer: gguf.GGUFWriter, model: str) -> None:
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(model)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_merges(name: str, model: str, pre: str, byte_level: bool) -> None:
    tokenizer = Tokenizer(models.BPE())
    # Pieces of 24 characters: long enough for merges over words, short enough for the trainer.
    cut = pre_tokenizers.Split(Regex(r"[\s\S]{24}" if byte_level else r"[^\n]{1,24}|\n+"), "isolated")
    specials = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    controls = len(specials)
    user_defined = ["<tool>", "</tool>", "<|marker", "\n\n\n", "@@"]
    unused = ["[UNUSED_0]", "[UNUSED_1]"]
    data = texts()
    if byte_level:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer.pre_tokenizer = cut
        alphabet = []
        data = [text.replace(" ", "\u2581") for text in data]
    trainer = trainers.BpeTrainer(vocab_size=1600, initial_alphabet=alphabet, special_tokens=[], show_progress=False, max_token_length=16)
    tokenizer.train_from_iterator(data, trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    spelled = [token for token, _ in sorted(trained["vocab"].items(), key=lambda item: item[1])]
    byte_tokens = [] if byte_level else [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = specials + byte_tokens + spelled + user_defined + unused
    kinds = [UNKNOWN] + [CONTROL] * (controls - 1) + [BYTE] * len(byte_tokens) + [NORMAL] * len(spelled)
    kinds += [USER_DEFINED] * len(user_defined) + [UNUSED] * len(unused)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in trained["merges"]]
    if not byte_level:
        seen = set(tokens)
        merges = [merge for merge in merges if "\n" not in merge and merge.replace(" ", "") in seen]
    writer = gguf.GGUFWriter(HERE / "tokenizers" / name, "llama")
    add_keys(writer, model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    finish(writer)
    print(name, len(tokens), "tokens", len(merges), "merges")


def write_pieces(name: str, model: str, kind: str, byte_fallback: bool) -> None:
    path = HERE / "tokenizers" / "trained"
    corpus = HERE / "tokenizers" / "corpus.txt"
    rules = HERE / "tokenizers" / "rules.tsv"
    codes = lambda text: " ".join(f"{ord(character):X}" for character in text)
    rules.write_text("".join(f"{codes(source)}\t{codes(target)}\n" for source, target in RULES.items()))
    corpus.write_text("\n".join(line for text in texts() for line in text.splitlines()))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(path), model_type=kind, vocab_size=1500, byte_fallback=byte_fallback,
        character_coverage=0.9995, user_defined_symbols=["<tool>", "</tool>", "<|marker"], control_symbols=["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
        split_digits=kind == "bpe", **({"normalization_rule_name": "identity"} if byte_fallback else {"normalization_rule_tsv": str(rules)}),
        remove_extra_whitespaces=not byte_fallback, num_threads=1, minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(Path(f"{path}.model").read_bytes())
    types = sentencepiece_model_pb2.ModelProto.SentencePiece
    kinds = {types.NORMAL: NORMAL, types.UNKNOWN: UNKNOWN, types.CONTROL: CONTROL, types.USER_DEFINED: USER_DEFINED, types.UNUSED: UNUSED, types.BYTE: BYTE}
    writer = gguf.GGUFWriter(HERE / "tokenizers" / name, "llama")
    add_keys(writer, model)
    writer.add_tokenizer_pre("default")
    writer.add_token_list([piece.piece for piece in proto.pieces])
    writer.add_token_scores([piece.score for piece in proto.pieces])
    writer.add_token_types([kinds[piece.type] for piece in proto.pieces])
    writer.add_unk_token_id(proto.trainer_spec.unk_id)
    writer.add_bos_token_id(proto.trainer_spec.bos_id)
    writer.add_eos_token_id(proto.trainer_spec.eos_id)
    writer.add_add_space_prefix(proto.normalizer_spec.add_dummy_prefix)
    writer.add_remove_extra_whitespaces(proto.normalizer_spec.remove_extra_whitespaces)
    if model == "t5" and proto.normalizer_spec.precompiled_charsmap:
        writer.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
    finish(writer)
    for left in [corpus, rules, Path(f"{path}.model"), Path(f"{path}.vocab")]:
        left.unlink()
    print(name, len(proto.pieces), "pieces")


(HERE / "tokenizers").mkdir(exist_ok=True)
write_merges("bytes.gguf", "gpt2", "gpt-2", True)
write_merges("plain.gguf", "gemma4", "gemma4", False)
write_pieces("spm.gguf", "llama", "bpe", True)
write_pieces("unigram.gguf", "t5", "unigram", False)
