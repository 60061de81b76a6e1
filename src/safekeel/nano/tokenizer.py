"""The nano model's tokenizer: byte-level BPE with Qwen2's pre-tokenisation, DeepSeek-R1's special tokens and chat
template."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
USER, ASSISTANT, THINK, END_THINK = "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"
# Qwen2's split pattern (Qwen/Qwen2-7B tokenizer.json): single digits, words with their leading space.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MAX_LENGTH = 512  # tokens; the longest nano prompt has about 120


def r1_chat_template() -> str:
    """The real template of DeepSeek-R1-Distill-Qwen (MIT), as shipped in `data/templates`."""
    return (resources.files("safekeel") / "data/templates/deepseek_r1_distill_qwen.jinja").read_text("utf-8")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train the BPE vocabulary on texts; the result has exactly `vocab_size` tokens or fewer if the texts are few."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    text_tokens = [USER, ASSISTANT, THINK, END_THINK]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(text_tokens),
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # As in R1: these four are ordinary added tokens, so that they survive decoding with skip_special_tokens.
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in text_tokens])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="left",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = r1_chat_template()
    return fast
