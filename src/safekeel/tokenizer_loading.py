"""A model's tokenizer from its folder, checked, and a chat template for one that has none. `safekeel.chat` is where
others take these names from. Only `load_tokenizer` imports transformers."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from safekeel.errors import EngineError

Tokenizer = Any
"""A transformers tokenizer."""

_ROUND_TRIP_SAMPLE = "He said: 3 + 4 = 7,  x_1.\n\n安全是第一位的，不能 ignore 123 4567。\n</think>\n\n答案是 B"


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a model folder, checked.

    transformers 5 (5.17 included) loads some byte-level tokenizers as `LlamaTokenizer`, with SentencePiece's
    pre-tokenizer: R1's and R1-Distill-Llama's lose every space, at no error (huggingface/transformers issue 45488).
    Read without its class, `tokenizer.json` is right.

    Raises:
        EngineError: no way of loading it returns its own input.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    try:
        check_round_trip(tokenizer)
    except EngineError:
        if not (folder / "tokenizer.json").is_file():
            raise
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        check_round_trip(tokenizer)
    return tokenizer


NEXT_TURN = "\n\nUser:"
"""Where a base model under the plain template begins to write the user's next turn: its answer ended before."""


def give_plain_template(tokenizer: Tokenizer) -> bool:
    """Give a tokenizer without a chat template the plain dialogue of `data/templates/plain.jinja`, so that a base model
    can be asked at all. True where it had none."""
    if getattr(tokenizer, "chat_template", None):
        return False
    tokenizer.chat_template = (resources.files("safekeel.data") / "templates/plain.jinja").read_text("utf-8")
    return True


def check_round_trip(tokenizer: Tokenizer) -> None:
    """Encode and decode a bilingual sample.

    Raises:
        EngineError: the text does not come back as it was.
    """
    ids = tokenizer(_ROUND_TRIP_SAMPLE, add_special_tokens=False)["input_ids"]
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if text != _ROUND_TRIP_SAMPLE:
        raise EngineError(
            f"The tokenizer does not return its own input: expected {_ROUND_TRIP_SAMPLE!r}, got {text!r}. Every result "
            "would be wrong; load it with `safekeel.chat.load_tokenizer` or repair its tokenizer.json."
        )
