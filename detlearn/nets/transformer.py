"""Attention over a map: the encoder and the decoder of DETR, and where its tokens stand.

A map of features becomes a list of tokens, one a location. Every token asks all others and takes
from those that answer it (attention); what it takes is what they *are*, and whom it asks depends
also on where they *stand*. The encoder lets the map's tokens ask each other. The decoder starts
from a fixed number of queries, zeros that will be filled: they ask each other, so that two do not
take one object, and then the map.

Shapes: B images; C channels, the same everywhere; a map of H × W locations is S = H · W tokens, row
by row; Q queries; C / heads channels of each head. `padding` is true where a location lies in the
padding of its image.

Sources: Vaswani et al. 2017, "Attention Is All You Need" (arXiv 1706.03762); Carion et al. 2020,
"End-to-End Object Detection with Transformers" (arXiv 2005.12872), appendix A.3 and A.4.

Names of parameters are those of the published DETR weights, so that these load as they are.

Where we differ from the published code: the batch comes first in every shape; and attention is
written out as two products of matrices with a softmax between, where it calls a library. That is
the point of this file, and at the sizes of this book it also trains faster on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The sines' longest wave is so many times as long as the shortest, 2π.
TEMPERATURE = 10000.0
# Added to the number of rows or columns by which positions are divided.
POSITION_EPS = 1e-6


# ---- where a token stands ------------------------------------------------------------------------


def sine_code(values: Tensor, num_features: int, temperature: float = TEMPERATURE) -> Tensor:
    """Write each number as the sines and cosines of many wavelengths (Vaswani et al. 2017, §3.5).

        feature 2i:      sin(v / temperature^(2i / num_features))
        feature 2i + 1:  cos(v / temperature^(2i / num_features))

    Two numbers that lie near each other get codes that lie near each other, and the code of v + d
    is that of v turned by an angle which depends on d alone.

    Args:
        values: (...) numbers; a whole map is mostly 0 … 2π.
        num_features: how many sines and cosines, even.
        temperature: the longest wave is nearly so many times as long as the shortest.

    Returns:
        (..., num_features), sines and cosines in turn.

    Raises:
        ValueError: for an odd number of features.
    """
    if num_features < 2 or num_features % 2 != 0:
        raise ValueError(
            f"num_features is {num_features}: every wavelength has a sine and a cosine, so give an "
            "even number"
        )
    exponents = torch.arange(0, num_features, 2, device=values.device) / num_features  # (F / 2,)
    angles = values[..., None] / temperature**exponents  # (..., F / 2)

    # Each sine next to its cosine.
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)  # (..., F)


def sine_positions(
    rows: Tensor, columns: Tensor, hidden_dim: int, temperature: float = TEMPERATURE
) -> Tensor:
    """Return the positional encoding of a map: half of its channels say the row, half the column.

    Args:
        rows: (B, H, W) the row of each location, in radians (0 … 2π over the image).
        columns: (B, H, W) its column, likewise.
        hidden_dim: C, the channels of the features to which it will be added; a multiple of 4.
        temperature: see `sine_code`.

    Returns:
        (B, C, H, W): C / 2 channels of the rows' code (y), then C / 2 of the columns' (x).

    Raises:
        ValueError: for a hidden_dim that is not a multiple of 4.
    """
    if hidden_dim < 4 or hidden_dim % 4 != 0:
        raise ValueError(
            f"hidden_dim is {hidden_dim}: rows and columns get a half each, of sines and cosines, "
            "so give a multiple of 4"
        )
    y_code = sine_code(rows, hidden_dim // 2, temperature)  # (B, H, W, C / 2)
    x_code = sine_code(columns, hidden_dim // 2, temperature)  # (B, H, W, C / 2)
    return torch.cat((y_code, x_code), dim=-1).permute(0, 3, 1, 2)  # (B, C, H, W)


class PositionalEncoding2D(nn.Module):
    """Where each location of a map stands in its image, as `sine_positions`.

    An image's rows are counted from 1, without those in the padding, and divided by their number:
    the last row is at 2π whatever the image's size, and a padded image has the positions that it
    would have alone.

    Args:
        hidden_dim: C, a multiple of 4.
        temperature: see `sine_code`; on a small map wavelengths of 10 000 tell nothing.
        centred: rows are counted from ½, as Deformable DETR does it.
    """

    def __init__(
        self, hidden_dim: int, temperature: float = TEMPERATURE, centred: bool = False
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.temperature = temperature
        self.centred = centred

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the positions.

        Args:
            features: (B, C', H, W), of which the shape counts.
            mask: (B, H, W) bool, true in the padding, which lies below and to the right; by default
                there is none.

        Returns:
            (B, C, H, W) float32; in the padding finite and without meaning.

        Raises:
            ValueError: for a mask of another shape, or a hidden_dim that is not a multiple of 4.
        """
        batch_size, _, height, width = features.shape
        if mask is None:
            mask = features.new_zeros(batch_size, height, width, dtype=torch.bool)
        if mask.shape != (batch_size, height, width):
            raise ValueError(
                f"the mask has shape {tuple(mask.shape)}: expected that of the map, "
                f"{(batch_size, height, width)}"
            )

        # 1, 2, 3, … down each column and along each row; the last is their number.
        rows = (~mask).cumsum(dim=1, dtype=torch.float32)  # (B, H, W)
        columns = (~mask).cumsum(dim=2, dtype=torch.float32)  # (B, H, W)
        num_rows, num_columns = rows[:, -1:, :], columns[:, :, -1:]  # (B, 1, W), (B, H, 1)

        if self.centred:
            rows, columns = rows - 0.5, columns - 0.5
        rows = 2 * math.pi * rows / (num_rows + POSITION_EPS)
        columns = 2 * math.pi * columns / (num_columns + POSITION_EPS)
        return sine_positions(rows, columns, self.hidden_dim, self.temperature)


# ---- attention -----------------------------------------------------------------------------------


def attention_step(
    queries: Tensor,
    query_positions: Tensor,
    memory: Tensor,
    memory_positions: Tensor,
    in_proj_weight: Tensor,
    in_proj_bias: Tensor,
    num_heads: int,
    padding: Tensor | None = None,
    *,
    blocked: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Let every query take from the memory what answers it (Carion et al. 2020, A.1).

    Positions are added to the queries and to the keys, which decide who answers whom, and never to
    the values: what is handed on is what a token is, not where it stands.

    Args:
        queries: (B, Q, C) who asks.
        query_positions: (B, Q, C) where they stand.
        memory: (B, S, C) who is asked.
        memory_positions: (B, S, C) where they stand.
        in_proj_weight: (3C, C), the projections to queries, keys and values, one below the other.
        in_proj_bias: (3C,).
        num_heads: each has C / num_heads channels to itself.
        padding: (B, S) bool, who is no part of an image and is not heard; by default all are.
        blocked: (Q, S) bool, which query may not hear whom, in all images; by default all may.
        dropout: share of the weights that are set to 0, the others being raised to make up for it.

    Returns:
        values: (B, Q, C), what was taken, before the output projection.
        weights: (B, heads, Q, S), from whom: not negative, with a sum of 1 over S.
    """
    weight_q, weight_k, weight_v = in_proj_weight.chunk(3)  # (C, C) each
    bias_q, bias_k, bias_v = in_proj_bias.chunk(3)  # (C,) each
    q = split_heads(F.linear(queries + query_positions, weight_q, bias_q), num_heads)
    k = split_heads(F.linear(memory + memory_positions, weight_k, bias_k), num_heads)
    v = split_heads(F.linear(memory, weight_v, bias_v), num_heads)  # (B, heads, S, C / heads)

    # How well does each answer each? The root keeps the products as large as their factors.
    q = q / math.sqrt(q.shape[-1])
    scores = q @ k.transpose(-2, -1)  # (B, heads, Q, S)
    if padding is not None:
        scores = scores.masked_fill(padding[:, None, None, :], -math.inf)
    if blocked is not None:
        scores = scores.masked_fill(blocked, -math.inf)
    weights = scores.softmax(dim=-1)

    # The mean of the values by these weights, all heads side by side.
    used = F.dropout(weights, dropout) if dropout > 0 else weights
    values = used @ v  # (B, heads, Q, C / heads)
    return values.transpose(1, 2).flatten(2), weights  # (B, Q, C)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Give each head its channels: (B, S, C) → (B, heads, S, C / heads)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


class MultiheadAttention(nn.Module):
    """`attention_step` with its weights and the output projection.

    Args:
        hidden_dim: C.
        num_heads: of which each has C / num_heads channels.
        dropout: share of the weights that are dropped in training.

    Raises:
        ValueError: if the heads do not share the channels evenly.
    """

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if hidden_dim % num_heads != 0:
            raise ValueError(
                f"hidden_dim is {hidden_dim} for {num_heads} heads: give a multiple, so that all "
                "have equally many channels"
            )
        self.num_heads = num_heads
        self.dropout = dropout

        self.in_proj_weight = nn.Parameter(torch.empty(3 * hidden_dim, hidden_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden_dim))
        self.out_proj = nn.Linear(hidden_dim, hidden_dim)

        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        queries: Tensor,
        query_positions: Tensor,
        memory: Tensor,
        memory_positions: Tensor,
        padding: Tensor | None = None,
        blocked: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Ask; see `attention_step` for the arguments.

        Returns:
            The answers (B, Q, C), and from whom they come, (B, heads, Q, S).
        """
        values, weights = attention_step(
            queries,
            query_positions,
            memory,
            memory_positions,
            self.in_proj_weight,
            self.in_proj_bias,
            self.num_heads,
            padding,
            blocked=blocked,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.out_proj(values), weights


class Memory(NamedTuple):
    """A batch of maps as the encoder leaves them and the decoder asks them.

    Attributes:
        tokens: (B, S, C) what each location is.
        positions: (B, S, C) where it stands.
        padding: (B, S) bool, where there is no image; None if no image is padded.
        map_size: (H, W) of the map; S = H · W, row by row.
    """

    tokens: Tensor
    positions: Tensor
    padding: Tensor | None
    map_size: tuple[int, int]


# ---- layers --------------------------------------------------------------------------------------


class EncoderLayer(nn.Module):
    """The map's tokens ask each other; then each thinks for itself.

    After both steps what came out is added to what went in, and normalised (post-norm).

    Args:
        hidden_dim: C.
        num_heads: of the attention.
        feedforward_dim: channels between the two linear layers.
        dropout: in training, of the attention's weights, of these channels and of both steps'
            results.
    """

    def __init__(
        self, hidden_dim: int, num_heads: int, feedforward_dim: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(hidden_dim, num_heads, dropout)
        self.linear1 = nn.Linear(hidden_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, hidden_dim)
        self.norm1 = nn.LayerNorm(hidden_dim)
        self.norm2 = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, positions: Tensor, padding: Tensor | None = None) -> Tensor:
        """Change the tokens.

        Args:
            tokens: (B, S, C).
            positions: (B, S, C), where they stand.
            padding: (B, S) bool, or None.

        Returns:
            (B, S, C).
        """
        answers, _ = self.self_attn(tokens, positions, tokens, positions, padding)
        tokens = self.norm1(tokens + self.dropout(answers))

        hidden = self.dropout(F.relu(self.linear1(tokens)))  # (B, S, feedforward_dim)
        return self.norm2(tokens + self.dropout(self.linear2(hidden)))


class DecoderLayer(nn.Module):
    """The queries ask each other, then the map; then each thinks for itself.

    Args:
        hidden_dim, num_heads, feedforward_dim, dropout: as those of `EncoderLayer`.
    """

    def __init__(
        self, hidden_dim: int, num_heads: int, feedforward_dim: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(hidden_dim, num_heads, dropout)
        self.multihead_attn = MultiheadAttention(hidden_dim, num_heads, dropout)
        self.linear1 = nn.Linear(hidden_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, hidden_dim)
        self.norm1 = nn.LayerNorm(hidden_dim)
        self.norm2 = nn.LayerNorm(hidden_dim)
        self.norm3 = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        queries: Tensor,
        query_positions: Tensor,
        memory: Memory,
        blocked: Tensor | None = None,
    ) -> Tensor:
        """Change the queries.

        Args:
            queries: (B, Q, C).
            query_positions: (B, Q, C), what tells them from each other.
            memory: the map, as the encoder left it.
            blocked: (Q, Q) bool, which query may not hear which; by default all hear all.

        Returns:
            (B, Q, C).
        """
        answers, _ = self.self_attn(
            queries, query_positions, queries, query_positions, blocked=blocked
        )
        queries = self.norm1(queries + self.dropout(answers))

        answers, _ = self.multihead_attn(
            queries, query_positions, memory.tokens, memory.positions, memory.padding
        )
        queries = self.norm2(queries + self.dropout(answers))

        hidden = self.dropout(F.relu(self.linear1(queries)))  # (B, Q, feedforward_dim)
        return self.norm3(queries + self.dropout(self.linear2(hidden)))


# ---- the whole -----------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Layers that change a map's tokens one after the other.

    Args:
        layers: modules as `EncoderLayer`; there may be none.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, features: Tensor, positions: Tensor, padding: Tensor | None = None) -> Memory:
        """Turn maps into tokens and change them.

        Args:
            features: (B, C, H, W).
            positions: (B, C, H, W), as `PositionalEncoding2D` returns them.
            padding: (B, H, W) bool, true in the padding; None if no image is padded.

        Returns:
            The memory that the decoder asks.
        """
        map_size = tuple(features.shape[-2:])
        tokens = features.flatten(2).transpose(1, 2)  # (B, S, C)
        positions = positions.flatten(2).transpose(1, 2)  # (B, S, C)
        if padding is not None:
            padding = padding.flatten(1)  # (B, S)

        # In every layer again: what was added once would be lost on the way.
        for layer in self.layers:
            tokens = layer(tokens, positions, padding)
        return Memory(tokens, positions, padding, map_size)


class Decoder(nn.Module):
    """Layers that change the queries one after the other, and a normalisation of what each leaves.

    Args:
        layers: modules as `DecoderLayer`.
        hidden_dim: C.
    """

    def __init__(self, layers: Sequence[nn.Module], hidden_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(
        self,
        queries: Tensor,
        query_positions: Tensor,
        memory: Memory,
        blocked: Tensor | None = None,
    ) -> Tensor:
        """Ask the map, layer after layer.

        Args:
            queries: (B, Q, C) what the queries are at first.
            query_positions: (B, Q, C), what tells them from each other.
            memory: from the encoder.
            blocked: (Q, Q) bool, which query may not hear which; by default all hear all.

        Returns:
            (L, B, Q, C), the queries after each layer, normalised. The next layer goes on with what
            was not.
        """
        states = []
        for layer in self.layers:
            queries = layer(queries, query_positions, memory, blocked)
            states.append(self.norm(queries))
        return torch.stack(states)


class Transformer(nn.Module):
    """DETR's encoder and decoder.

    Args:
        hidden_dim: C, a multiple of 4 and of the number of heads.
        num_heads: of every attention.
        num_encoder_layers: layers for the map; 0 for none.
        num_decoder_layers: L, layers for the queries.
        feedforward_dim: channels between the two linear layers of each.
        dropout: in training.
    """

    def __init__(
        self,
        hidden_dim: int = 256,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        widths = (hidden_dim, num_heads, feedforward_dim, dropout)
        self.encoder = Encoder([EncoderLayer(*widths) for _ in range(num_encoder_layers)])
        decoder_layers = [DecoderLayer(*widths) for _ in range(num_decoder_layers)]
        self.decoder = Decoder(decoder_layers, hidden_dim)

        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
