"""Where tokens stand and how they attend: by hand, against loops and against torch."""

import math

import pytest
import torch
from torch import nn

from detlearn.nets.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    Memory,
    MultiheadAttention,
    PositionalEncoding2D,
    Transformer,
    attention_step,
    sine_code,
    sine_positions,
)


def naive_code(value, num_features, temperature):
    """One number's code, one feature at a time, in double precision."""
    code = []
    for feature in range(num_features):
        angle = value / temperature ** (2 * (feature // 2) / num_features)
        code.append(math.sin(angle) if feature % 2 == 0 else math.cos(angle))
    return code


def naive_positions(height, width, real, hidden_dim, temperature, offset):
    """One image's encoding: `real` is the height and the width of what is not padding."""
    encoding = torch.zeros(hidden_dim, height, width, dtype=torch.float64)
    half = hidden_dim // 2
    for i in range(height):
        for j in range(width):
            y = 2 * math.pi * (i + 1 - offset) / real[0]
            x = 2 * math.pi * (j + 1 - offset) / real[1]
            encoding[:half, i, j] = torch.tensor(naive_code(y, half, temperature))
            encoding[half:, i, j] = torch.tensor(naive_code(x, half, temperature))
    return encoding


def padding_of(sizes, height, width):
    """(B, H, W) bool: all but the first rows and columns of each image."""
    mask = torch.ones(len(sizes), height, width, dtype=torch.bool)
    for i, (h, w) in enumerate(sizes):
        mask[i, :h, :w] = False
    return mask


# ---- where a token stands ------------------------------------------------------------------------


class TestSineCode:
    def test_by_hand(self):
        """π/2 with wavelengths 2π and 2π · √100: sin 1, cos 0; π/20: .1564, .9877."""
        code = sine_code(torch.tensor(math.pi / 2), 4, temperature=100.0)
        assert code.tolist() == pytest.approx([1, 0, 0.156434, 0.987688], abs=1e-6)

    def test_zero_is_sines_of_0_and_cosines_of_1(self):
        assert sine_code(torch.zeros(2, 3), 6)[1, 2].tolist() == [0, 1, 0, 1, 0, 1]

    @pytest.mark.parametrize("temperature", [10000.0, 20.0])
    def test_against_a_loop(self, temperature):
        values = torch.tensor([0.0, 0.3, -2.0, 6.28, 50.0])
        expected = torch.tensor([naive_code(float(v), 10, temperature) for v in values])
        torch.testing.assert_close(sine_code(values, 10, temperature), expected)

    def test_a_step_turns_the_code_by_one_angle_wherever_it_begins(self):
        """What makes the code useful: products of codes depend on the distance alone."""
        values = torch.tensor([0.0, 1.0, 5.0])
        products = (sine_code(values, 8, 20.0) * sine_code(values + 0.7, 8, 20.0)).sum(dim=-1)
        torch.testing.assert_close(products, products[:1].expand(3))

    def test_gradients_flow(self):
        values = torch.rand(3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda v: sine_code(v, 6, 20.0), values)

    @pytest.mark.parametrize("num_features", [0, 7])
    def test_an_odd_number_is_refused(self, num_features):
        with pytest.raises(ValueError, match=f"num_features is {num_features}.* even"):
            sine_code(torch.zeros(1), num_features)


class TestSinePositions:
    def test_rows_come_first(self):
        rows, columns = torch.rand(2, 3, 5), torch.rand(2, 3, 5)
        encoding = sine_positions(rows, columns, 8, 20.0)
        assert encoding.shape == (2, 8, 3, 5)
        assert encoding[1, :4, 2, 3].equal(sine_code(rows[1, 2, 3], 4, 20.0))
        assert encoding[1, 4:, 2, 3].equal(sine_code(columns[1, 2, 3], 4, 20.0))

    @pytest.mark.parametrize("hidden_dim", [0, 6, 9])
    def test_a_hidden_dim_that_cannot_be_quartered_is_refused(self, hidden_dim):
        with pytest.raises(ValueError, match=f"hidden_dim is {hidden_dim}.* multiple of 4"):
            sine_positions(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), hidden_dim)


class TestPositionalEncoding:
    def test_by_hand(self):
        """The first of four rows is at 2π / 4, whose sine is 1; centred at 2π / 8: √½."""
        features = torch.zeros(1, 3, 4, 4)
        assert PositionalEncoding2D(8)(features)[0, 0, 0, 0].item() == pytest.approx(1.0)
        centred = PositionalEncoding2D(8, centred=True)(features)
        assert centred[0, 0, 0, 0].item() == pytest.approx(0.7071, abs=1e-4)

    def test_it_has_the_channels_of_the_features_to_which_it_is_added(self):
        assert PositionalEncoding2D(12)(torch.zeros(2, 3, 4, 6)).shape == (2, 12, 4, 6)

    @pytest.mark.parametrize("centred", [False, True])
    @pytest.mark.parametrize("temperature", [10000.0, 20.0])
    def test_against_a_loop_with_padding(self, centred, temperature):
        sizes = [(5, 7), (3, 7), (5, 2), (1, 1)]
        mask = padding_of(sizes, 5, 7)
        encode = PositionalEncoding2D(8, temperature, centred)
        found = encode(torch.zeros(4, 3, 5, 7), mask)
        assert found.isfinite().all()
        for i, (height, width) in enumerate(sizes):
            expected = naive_positions(5, 7, sizes[i], 8, temperature, 0.5 if centred else 0)
            torch.testing.assert_close(
                found[i, :, :height, :width],
                expected[:, :height, :width].float(),
                atol=1e-5,
                rtol=1e-5,
            )

    def test_a_padded_image_stands_where_it_stood_alone(self):
        encode = PositionalEncoding2D(8)
        alone = encode(torch.zeros(1, 3, 3, 4))
        padded = encode(torch.zeros(1, 3, 6, 9), padding_of([(3, 4)], 6, 9))
        torch.testing.assert_close(padded[:, :, :3, :4], alone)

    def test_all_locations_differ(self):
        encoding = PositionalEncoding2D(16)(torch.zeros(1, 3, 6, 9))[0].flatten(1).T  # (S, C)
        distances = torch.cdist(encoding, encoding)
        assert distances.fill_diagonal_(1).min() > 1e-2

    def test_it_has_no_weights(self):
        assert PositionalEncoding2D(8).state_dict() == {}

    def test_a_mask_of_another_shape_is_refused(self):
        with pytest.raises(ValueError, match=r"\(1, 4, 4\).*expected.*\(1, 2, 2\)"):
            PositionalEncoding2D(8)(torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 4).bool())

    def test_half_precision_features_get_full_precision_positions(self):
        features = torch.zeros(1, 3, 4, 4, dtype=torch.bfloat16)
        found = PositionalEncoding2D(8)(features)
        assert found.dtype == torch.float32
        assert found.equal(PositionalEncoding2D(8)(features.float()))


# ---- attention -----------------------------------------------------------------------------------


def attention_input(seed=0, batch=2, num_queries=5, num_memory=7, channels=12):
    """Random arguments of `attention_step`, by name."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    return {
        "queries": draw(batch, num_queries, channels),
        "query_positions": draw(batch, num_queries, channels),
        "memory": draw(batch, num_memory, channels),
        "memory_positions": draw(batch, num_memory, channels),
        "in_proj_weight": draw(3 * channels, channels) / channels**0.5,
        "in_proj_bias": draw(3 * channels),
        "num_heads": 3,
    }


def torch_attention(
    queries,
    query_positions,
    memory,
    memory_positions,
    in_proj_weight,
    in_proj_bias,
    num_heads,
    padding=None,
    blocked=None,
):
    """The same by ``nn.MultiheadAttention`` with an output projection that changes nothing."""
    channels = queries.shape[-1]
    attention = nn.MultiheadAttention(channels, num_heads, batch_first=True, dtype=queries.dtype)
    with torch.no_grad():
        attention.in_proj_weight.copy_(in_proj_weight)
        attention.in_proj_bias.copy_(in_proj_bias)
        attention.out_proj.weight.copy_(torch.eye(channels))
        attention.out_proj.bias.zero_()
        return attention(
            queries + query_positions,
            memory + memory_positions,
            memory,
            key_padding_mask=padding,
            attn_mask=blocked,
            average_attn_weights=False,
        )


class TestAttentionStep:
    def test_by_hand(self):
        """One head of one channel: scores 2 · (1, 3), so the weights are 1 : e⁴.

        The query is 1 + 1 = 2, the keys are 1 + 0 and 2 + 1, the values 1 and 2.
        """
        values, weights = attention_step(
            torch.tensor([[[1.0]]]),
            torch.tensor([[[1.0]]]),
            torch.tensor([[[1.0], [2.0]]]),
            torch.tensor([[[0.0], [1.0]]]),
            torch.ones(3, 1),
            torch.zeros(3),
            num_heads=1,
        )
        second = math.exp(4) / (1 + math.exp(4))
        assert weights.flatten().tolist() == pytest.approx([1 - second, second])
        assert values.item() == pytest.approx(1 + second)

    def test_products_are_divided_by_the_root_of_a_heads_channels(self):
        """Four channels of ones: 4 / √4 = 2 against 0."""
        memory = torch.tensor([[[1.0] * 4, [0.0] * 4]])
        _, weights = attention_step(
            torch.ones(1, 1, 4),
            torch.zeros(1, 1, 4),
            memory,
            torch.zeros_like(memory),
            torch.eye(4).repeat(3, 1),
            torch.zeros(12),
            num_heads=1,
        )
        assert weights[0, 0, 0, 0].item() == pytest.approx(math.exp(2) / (1 + math.exp(2)))

    @pytest.mark.parametrize("seed", range(3))
    def test_against_torch(self, seed):
        arguments = attention_input(seed)
        arguments["padding"] = torch.zeros(2, 7, dtype=torch.bool)
        arguments["padding"][1, 4:] = True
        blocked = torch.zeros(5, 7, dtype=torch.bool)
        blocked[1, :3] = blocked[4, 2] = True
        for found, expected in zip(
            attention_step(**arguments, blocked=blocked),
            torch_attention(**arguments, blocked=blocked),
        ):
            torch.testing.assert_close(found, expected)

    def test_without_masks(self):
        arguments = attention_input()
        for found, expected in zip(attention_step(**arguments), torch_attention(**arguments)):
            torch.testing.assert_close(found, expected)

    def test_weights_are_shares(self):
        _, weights = attention_step(**attention_input())
        assert weights.shape == (2, 3, 5, 7) and (weights >= 0).all()
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]))

    def test_values_know_no_positions(self):
        """All answer alike here, so positions could reach the values only by being added to them.

        With the projections to queries and keys at 0, the weights are equal whatever stands where.
        """
        arguments = attention_input()
        arguments["in_proj_weight"][:24] = 0
        values, weights = attention_step(**arguments)
        torch.testing.assert_close(weights, torch.full_like(weights, 1 / 7))

        projected = arguments["memory"] @ arguments["in_proj_weight"][24:].T
        mean = (projected + arguments["in_proj_bias"][24:]).mean(dim=1, keepdim=True)
        torch.testing.assert_close(values, mean.expand_as(values))
        for name in ("query_positions", "memory_positions"):
            changed = {**arguments, name: 100 * arguments[name] + 3}
            torch.testing.assert_close(attention_step(**changed)[0], values)

    @pytest.mark.parametrize("name", ["query_positions", "memory_positions"])
    def test_positions_decide_who_answers(self, name):
        arguments = attention_input()
        changed = {**arguments, name: -arguments[name]}
        difference = attention_step(**changed)[1] - attention_step(**arguments)[1]
        assert difference.abs().max() > 0.1

    def test_padding_is_not_heard(self):
        arguments = attention_input()
        arguments["padding"] = torch.zeros(2, 7, dtype=torch.bool)
        arguments["padding"][0, 5:] = True
        values, weights = attention_step(**arguments)
        assert (weights[0, :, :, 5:] == 0).all() and (weights[1] > 0).all()

        changed = arguments["memory"].clone()
        changed[0, 5:] = 1e6
        assert attention_step(**{**arguments, "memory": changed})[0].equal(values)

    def test_blocked_are_not_heard_by_those_from_whom_they_are_blocked(self):
        blocked = torch.zeros(5, 7, dtype=torch.bool)
        blocked[2, 3:] = True
        _, weights = attention_step(**attention_input(), blocked=blocked)
        assert (weights[:, :, 2, 3:] == 0).all()
        assert (weights[:, :, [0, 1, 3, 4]] > 0).all() and (weights[:, :, 2, :3] > 0).all()

    def test_dropout_drops_weights_from_the_values_but_not_from_what_is_told(self):
        torch.manual_seed(0)
        arguments = attention_input(num_memory=40)
        values, weights = attention_step(**arguments)
        dropped = [attention_step(**arguments, dropout=0.5) for _ in range(400)]
        assert all(told.equal(weights) for _, told in dropped)
        assert not dropped[0][0].equal(values)
        mean = torch.stack([found for found, _ in dropped]).mean(dim=0)
        assert (mean - values).abs().mean() < 0.1 * values.abs().mean()

    def test_gradients(self):
        arguments = attention_input(batch=1, num_queries=2, num_memory=3, channels=4)
        arguments["num_heads"] = 2
        names = list(arguments)[:6]
        tensors = [arguments[name].requires_grad_() for name in names]

        def step(*tensors):
            return attention_step(**{**arguments, **dict(zip(names, tensors))})

        assert torch.autograd.gradcheck(step, tensors)


def torch_twin(attention):
    """``nn.MultiheadAttention`` with the same weights, under the same names."""
    channels = attention.out_proj.in_features
    twin = nn.MultiheadAttention(channels, attention.num_heads, batch_first=True)
    twin.load_state_dict(attention.state_dict())
    return twin


class TestMultiheadAttention:
    def test_against_torch(self):
        torch.manual_seed(0)
        attention = MultiheadAttention(12, 3).eval()
        nn.init.normal_(attention.in_proj_bias)
        nn.init.normal_(attention.out_proj.bias)
        x, x_positions, y, y_positions = torch.randn(4, 2, 6, 12)
        padding = torch.zeros(2, 6, dtype=torch.bool)
        padding[0, 4:] = True
        blocked = torch.eye(6, dtype=torch.bool)
        found, weights = attention(x, x_positions, y, y_positions, padding, blocked)
        expected, expected_weights = torch_twin(attention)(
            x + x_positions,
            y + y_positions,
            y,
            key_padding_mask=padding,
            attn_mask=blocked,
            average_attn_weights=False,
        )
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(weights, expected_weights)

    def test_it_starts_as_torchs(self):
        """The same bound of the same distribution: √(6 / 4C) of a matrix (3C, C)."""
        attention = MultiheadAttention(64, 4)
        bound = math.sqrt(6 / (4 * 64))
        assert 0.95 * bound < attention.in_proj_weight.abs().max() <= bound
        assert (attention.in_proj_bias == 0).all() and (attention.out_proj.bias == 0).all()

    def test_dropout_in_training_alone(self):
        torch.manual_seed(0)
        attention = MultiheadAttention(8, 2, dropout=0.5)
        arguments = torch.randn(4, 1, 6, 8)
        first, second = attention(*arguments)[0], attention(*arguments)[0]
        assert not first.equal(second)
        attention.eval()
        assert attention(*arguments)[0].equal(attention(*arguments)[0])

    def test_heads_that_do_not_share_evenly_are_refused(self):
        with pytest.raises(ValueError, match="hidden_dim is 10 for 4 heads: give a multiple"):
            MultiheadAttention(10, 4)


# ---- layers --------------------------------------------------------------------------------------


def spread(module):
    """Give every parameter a random value, so that none can be left out unseen."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=random)
            if parameter.ndim > 1:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
            else:
                parameter.add_(0.3 * noise)
    return module.eval()


def torch_feedforward(layer, x):
    return layer.linear2(layer.linear1(x).clamp(min=0))


def torch_encoder_layer(layer, x, positions, padding=None):
    """The published layer, from torch's own attention."""
    asked = x + positions
    answers, _ = torch_twin(layer.self_attn)(asked, asked, x, key_padding_mask=padding)
    x = layer.norm1(x + answers)
    return layer.norm2(x + torch_feedforward(layer, x))


def torch_decoder_layer(layer, x, query_positions, memory, blocked=None):
    asked = x + query_positions
    answers, _ = torch_twin(layer.self_attn)(asked, asked, x, attn_mask=blocked)
    x = layer.norm1(x + answers)
    answers, _ = torch_twin(layer.multihead_attn)(
        x + query_positions,
        memory.tokens + memory.positions,
        memory.tokens,
        key_padding_mask=memory.padding,
    )
    x = layer.norm2(x + answers)
    return layer.norm3(x + torch_feedforward(layer, x))


def random_memory(batch=2, height=2, width=3, channels=8, padded=True):
    random = torch.Generator().manual_seed(1)
    tokens = torch.randn(batch, height * width, channels, generator=random)
    positions = torch.randn(batch, height * width, channels, generator=random)
    padding = None
    if padded:
        padding = torch.zeros(batch, height * width, dtype=torch.bool)
        padding[0, 4:] = True
    return Memory(tokens, positions, padding, (height, width))


class TestLayers:
    @pytest.mark.parametrize("padded", [False, True])
    def test_an_encoder_layer_against_torch(self, padded):
        layer, memory = spread(EncoderLayer(8, 2, 12)), random_memory(padded=padded)
        found = layer(memory.tokens, memory.positions, memory.padding)
        expected = torch_encoder_layer(layer, memory.tokens, memory.positions, memory.padding)
        torch.testing.assert_close(found, expected)

    @pytest.mark.parametrize("padded", [False, True])
    def test_a_decoder_layer_against_torch(self, padded):
        layer, memory = spread(DecoderLayer(8, 2, 12)), random_memory(padded=padded)
        queries, positions = torch.randn(2, 2, 5, 8)
        blocked = torch.zeros(5, 5, dtype=torch.bool)
        blocked[0, 1:] = True
        found = layer(queries, positions, memory, blocked)
        expected = torch_decoder_layer(layer, queries, positions, memory, blocked)
        torch.testing.assert_close(found, expected)

    def test_positions_are_in_no_value(self):
        """With no projection to queries and keys, no output depends on any position."""
        encoder_layer, decoder_layer = (
            spread(EncoderLayer(8, 2, 12)),
            spread(DecoderLayer(8, 2, 12)),
        )
        with torch.no_grad():
            for module in (encoder_layer, decoder_layer):
                for name, parameter in module.named_parameters():
                    if "in_proj_weight" in name:
                        parameter[:16] = 0

        memory = random_memory()
        positions = memory.positions.requires_grad_()
        queries = torch.randn(2, 5, 8)
        query_positions = torch.randn(2, 5, 8, requires_grad=True)
        tokens = encoder_layer(memory.tokens, positions, memory.padding)
        queries = decoder_layer(queries, query_positions, memory._replace(tokens=tokens))
        for output in (tokens, queries):
            gradients = torch.autograd.grad(
                output.square().sum(),
                [positions, query_positions],
                retain_graph=True,
                allow_unused=True,
            )
            assert all(gradient is None or (gradient == 0).all() for gradient in gradients)

    @pytest.mark.parametrize("kind", [EncoderLayer, DecoderLayer])
    def test_dropout_in_training_alone(self, kind):
        torch.manual_seed(0)
        layer, memory = kind(8, 2, 12, dropout=0.5), random_memory(padded=False)
        rest = (memory,) if kind is DecoderLayer else ()
        arguments = (memory.tokens, memory.positions, *rest)
        assert not layer(*arguments).equal(layer(*arguments))
        layer.eval()
        assert layer(*arguments).equal(layer(*arguments))

    @pytest.mark.parametrize("kind", [EncoderLayer, DecoderLayer])
    def test_what_is_dropped(self, kind):
        """The result of each step, and the hidden channels: without all only the norms are left."""
        layer, memory = spread(kind(8, 2, 12, dropout=1.0)).train(), random_memory()
        rest = (memory,) if kind is DecoderLayer else (memory.padding,)
        dropped = []
        layer.dropout.register_forward_hook(
            lambda module, given, left: dropped.append(given[0].shape[-1])
        )
        found = layer(memory.tokens, memory.positions, *rest)

        expected = layer.norm2(layer.norm1(memory.tokens))
        if kind is DecoderLayer:
            expected = layer.norm3(expected)
        torch.testing.assert_close(found, expected)
        assert dropped == ([8, 8, 12, 8] if kind is DecoderLayer else [8, 12, 8])


class TestEncoderAndDecoder:
    def test_positions_come_in_at_every_layer(self):
        encoder = spread(Encoder([EncoderLayer(8, 2, 12) for _ in range(3)]))
        features, positions = torch.randn(2, 2, 8, 3, 4)
        padding = torch.zeros(2, 3, 4, dtype=torch.bool)
        padding[1, 2:] = padding[1, :, 3:] = True
        memory = encoder(features, positions, padding)

        tokens = features.flatten(2).transpose(1, 2)
        flat = positions.flatten(2).transpose(1, 2)
        for layer in encoder.layers:
            tokens = torch_encoder_layer(layer, tokens, flat, padding.flatten(1))
        torch.testing.assert_close(memory.tokens, tokens)
        assert memory.positions.equal(flat) and memory.padding.equal(padding.flatten(1))
        assert memory.map_size == (3, 4)

    def test_tokens_stand_row_by_row(self):
        features = torch.arange(6.0).view(1, 1, 2, 3).expand(1, 4, 2, 3)
        memory = Encoder([])(features, -features)
        assert memory.tokens[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
        assert memory.positions[0, :, 0].tolist() == [0, -1, -2, -3, -4, -5]
        assert memory.padding is None

    def test_every_layers_queries_are_normalised_and_the_next_goes_on_without(self):
        decoder = spread(Decoder([DecoderLayer(8, 2, 12) for _ in range(3)], 8))
        memory = random_memory()
        queries, positions = torch.randn(2, 2, 5, 8)
        blocked = torch.zeros(5, 5, dtype=torch.bool)
        blocked[3, :2] = True
        states = decoder(queries, positions, memory, blocked)
        assert states.shape == (3, 2, 5, 8)
        for layer, state in zip(decoder.layers, states):
            queries = torch_decoder_layer(layer, queries, positions, memory, blocked)
            torch.testing.assert_close(state, decoder.norm(queries))

    def test_blocked_queries_do_not_hear_of_each_other_in_any_layer(self):
        """As denoising wants it: two groups, the second of which must not change the first."""
        decoder = spread(Decoder([DecoderLayer(8, 2, 12) for _ in range(2)], 8))
        memory = random_memory()
        queries, positions = torch.randn(2, 2, 5, 8)
        blocked = torch.zeros(5, 5, dtype=torch.bool)
        blocked[:3, 3:] = True
        alone = decoder(queries[:, :3], positions[:, :3], memory)
        changed = queries.clone()
        changed[:, 3:] = 7.0
        for given in (queries, changed):
            together = decoder(given, positions, memory, blocked)
            torch.testing.assert_close(together[:, :, :3], alone)


class TestTransformer:
    def test_the_papers_sizes_are_the_default(self):
        transformer = Transformer()
        assert len(transformer.encoder.layers) == len(transformer.decoder.layers) == 6
        layer = transformer.decoder.layers[5]
        assert layer.linear1.weight.shape == (2048, 256)
        assert layer.multihead_attn.num_heads == 8 and layer.multihead_attn.dropout == 0.1
        assert sum(p.numel() for p in transformer.parameters()) == 17_363_456

    def test_matrices_start_as_xaviers(self):
        for name, parameter in Transformer(64, 4, 1, 1, 128).named_parameters():
            if parameter.ndim > 1:
                bound = math.sqrt(6 / sum(parameter.shape))
                assert 0.95 * bound < parameter.abs().max() <= bound, name

    def test_the_arguments_reach_the_layers(self):
        transformer = Transformer(16, 2, 1, 3, 24, dropout=0.3)
        assert (len(transformer.encoder.layers), len(transformer.decoder.layers)) == (1, 3)
        for layer in (transformer.encoder.layers[0], transformer.decoder.layers[2]):
            assert layer.linear1.weight.shape == (24, 16)
            assert layer.self_attn.num_heads == 2
            assert layer.dropout.p == layer.self_attn.dropout == 0.3
