"""Phonemes in context: symbol ids x [B, N] → h [B, H, N], by a small ModernBERT built from a config."""

from __future__ import annotations

from torch import Tensor, nn

from speechvae.config import VAEConfig


class TextEncoder(nn.Module):
    """A `transformers` ModernBERT (Warner et al. 2024, arXiv 2412.13663) with full attention and rotary positions.

    The speaker enters after it (in priors, heads and decoder), so h is the same for every voice of a model.
    """

    def __init__(self, symbols: int, cfg: VAEConfig) -> None:
        super().__init__()
        from transformers import ModernBertConfig, ModernBertModel

        theta = {"rope_theta": 10000.0, "rope_type": "default"}
        config = ModernBertConfig(
            vocab_size=symbols, hidden_size=cfg.hidden, intermediate_size=2 * cfg.hidden,
            num_hidden_layers=cfg.text_layers, num_attention_heads=cfg.text_heads,
            layer_types=["full_attention"] * cfg.text_layers,
            attention_dropout=cfg.dropout, mlp_dropout=cfg.dropout, max_position_embeddings=4096, pad_token_id=0,
            bos_token_id=None, eos_token_id=None, cls_token_id=None, sep_token_id=None,
            rope_parameters={"full_attention": theta, "sliding_attention": theta},
        )  # fmt: skip
        self.bert = ModernBertModel(config)

    def forward(self, x: Tensor, x_mask: Tensor) -> Tensor:
        """ids [B, N] and mask [B, 1, N] → [B, H, N], zero where masked."""
        out = self.bert(input_ids=x, attention_mask=x_mask[:, 0].long()).last_hidden_state
        return out.transpose(1, 2) * x_mask
