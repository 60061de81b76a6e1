"""Structured ("mimetic") initialisation of the nano model.

A small transformer needs millions of tokens before two circuits form by chance: attention to the previous token, and
induction ("find where this came before, copy what followed"). Starting with both in place buys the difference between
25% and 99% arithmetic after four minutes on two CPU cores (feasibility.md section 2; idea: Trockman & Kolter 2023,
"Mimetic Initialization of Self-Attention Layers", arXiv 2305.09828; induction heads: Olsson et al. 2022, arXiv
2209.11895).
Everything stays trainable and nothing about the world's content is put in.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM

EMBEDDING_STD = 0.1
POSITION_AMPLITUDE = 3.0  # how sharply layer-0 heads look at one fixed distance
MATCH_STRENGTH = 2.0  # how strongly layer-1 heads match tokens


@torch.no_grad()
def structured_init(model: Qwen2ForCausalLM, seed: int = 0) -> None:
    """Turn layer 0 into previous-token heads and layer 1 into induction and option-lookup heads, in place.

    Raises:
        ValueError: the model uses grouped-query attention (each head needs its own key).
    """
    config = model.config
    heads, hidden = config.num_attention_heads, config.hidden_size
    if config.num_key_value_heads != heads:
        raise ValueError(
            f"structured_init needs as many key-value heads as heads, got {config.num_key_value_heads} and {heads}"
        )
    rng = torch.Generator().manual_seed(seed)
    model.model.embed_tokens.weight.normal_(0, EMBEDDING_STD, generator=rng)
    read = torch.linalg.qr(torch.randn(hidden, hidden, generator=rng))[0]  # (H, H) orthogonal
    write = torch.linalg.qr(torch.randn(hidden, hidden, generator=rng))[0]  # (H, H) orthogonal
    _previous_token_heads(model, read, write)
    _matching_heads(model, read, write, rng)


def _previous_token_heads(model: Qwen2ForCausalLM, read: Tensor, write: Tensor) -> None:
    """Layer 0: head h attends h % 4 + 1 tokens back, through the q and k biases and the rotary embedding."""
    config, attention = model.config, model.model.layers[0].self_attn
    heads, dim = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    theta: float = config.to_dict()["rope_parameters"]["rope_theta"]
    frequencies = theta ** (-torch.arange(0, dim, 2).float() / dim)
    used = max(4, dim // 4)  # the fastest rotary pairs tell neighbouring positions apart
    for head in range(heads):
        rows = slice(head * dim, (head + 1) * dim)
        angle = -(head % 4 + 1) * frequencies[:used]
        query_bias, key_bias = torch.zeros(dim), torch.zeros(dim)
        key_bias[:used] = POSITION_AMPLITUDE
        query_bias[:used] = POSITION_AMPLITUDE * torch.cos(angle)
        query_bias[dim // 2 : dim // 2 + used] = POSITION_AMPLITUDE * torch.sin(angle)
        attention.q_proj.weight[rows] *= 0.1
        attention.k_proj.weight[rows] *= 0.1
        attention.q_proj.bias[rows], attention.k_proj.bias[rows] = query_bias, key_bias
        attention.v_proj.weight[rows] = read[rows]
    attention.o_proj.weight.copy_(0.12 * write)


def _matching_heads(model: Qwen2ForCausalLM, read: Tensor, write: Tensor, rng: torch.Generator) -> None:
    """Layer 1: induction and option look-up.

    All heads but two match "my token" with "the token before you" and copy you; the last two match the other way
    round and copy what stood two or three tokens before (the letter in front of an option).
    """
    config, attention = model.config, model.model.layers[1].self_attn
    heads, dim = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    slow = dim // 4  # the slowest rotary pairs hardly depend on distance: content is matched there
    content_rows = [*range(dim // 2 - slow, dim // 2), *range(dim - slow, dim)]
    own_token = read[:dim][: len(content_rows)]
    token_before = write[:, :dim].T[: len(content_rows)]
    induction_heads = heads - 2
    attention.o_proj.weight.copy_(0.01 * torch.randn(attention.o_proj.weight.shape, generator=rng))
    for head in range(heads):
        start = head * dim
        rows = slice(start, start + dim)
        attention.q_proj.weight[rows] *= 0.3
        attention.k_proj.weight[rows] *= 0.3
        query, key = (own_token, token_before) if head < induction_heads else (token_before, own_token)
        for index, row in enumerate(content_rows):
            attention.q_proj.weight[start + row] += MATCH_STRENGTH * query[index]
            attention.k_proj.weight[start + row] += MATCH_STRENGTH * key[index]
        if head < induction_heads:
            attention.v_proj.weight[rows] = read[rows]
            attention.o_proj.weight[:, rows] += 0.3 * read[rows].T
        else:
            distance = 1 + (head - induction_heads)
            source = slice(distance * dim, (distance + 1) * dim)
            attention.v_proj.weight[rows] = write[:, source].T
            attention.o_proj.weight[:, rows] += 0.3 * read[source].T
