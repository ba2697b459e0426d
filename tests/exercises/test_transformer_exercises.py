"""Chapter 5: what the checks of its seven exercises promise beyond the others."""

import re

import pytest
import torch
import torch.nn.functional as F
from table import PATIENCE

from detlearn import check
from detlearn.check import EXERCISES
from detlearn.check.engine import ask, judge
from detlearn.nets.transformer import attention_step


def said(name, function):
    exercise = EXERCISES[name]
    cases = exercise.ladder(0)
    return judge(exercise, cases, ask(function, cases, PATIENCE))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("sine_positions", ("sine_code", "sine_positions")),
        ("attention_step", ("attention_step", "split_heads")),
        ("matching_cost", ("matching_cost",)),
        ("set_classification_loss", ("set_classification_loss",)),
        ("refine_boxes", ("inverse_sigmoid", "refine_boxes")),
        ("sampling_locations", ("sampling_locations",)),
        ("sample_at", ("sample_at",)),
    ],
)
def test_the_solution_shows_what_the_answer_consists_of(name, shown):
    code = repr(check.solution(name))
    assert tuple(re.findall(r"^def (\w+)\(", code, re.MULTILINE)) == shown


# ---- what is left free is accepted ----


@pytest.mark.parametrize(
    "inverse",
    [
        lambda x: torch.logit(x, eps=1e-5),
        lambda x: torch.log(x.clamp(min=1e-5) / (1 - x).clamp(min=1e-5)),
        lambda x: torch.log((x + 1e-5) / (1 - x + 1e-5)),
        lambda x: torch.special.logit(x.double(), eps=1e-5).float(),
    ],
)
def test_every_way_to_keep_1e_5_from_the_ends_is_right(inverse):
    def answer(deltas, references):
        start = inverse(references)
        return torch.sigmoid(deltas + F.pad(start, (0, 4 - start.shape[-1])))

    assert said("refine_boxes", answer).status == "right"


@pytest.mark.parametrize("low", [-1e4, -1e9, torch.finfo(torch.float32).min])
def test_padding_may_get_any_score_that_is_low_enough(low):
    def answer(queries, places, memory, positions, weight, bias, heads, padding=None):
        if padding is None:
            return attention_step(queries, places, memory, positions, weight, bias, heads)
        wq, wk, wv = weight.chunk(3)
        bq, bk, bv = bias.chunk(3)
        q, k, v = (
            x.unflatten(-1, (heads, -1)).transpose(1, 2)
            for x in (
                F.linear(queries + places, wq, bq),
                F.linear(memory + positions, wk, bk),
                F.linear(memory, wv, bv),
            )
        )
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(padding[:, None, None], low)
        weights = scores.softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2), weights

    assert said("attention_step", answer).status == "right"


# ---- what the random cases are to hold ----


@pytest.mark.parametrize("seed", range(5))
def test_no_random_place_is_read_where_the_gradient_has_a_step(seed):
    for case in EXERCISES["sample_at"].ladder(seed):
        if case.gradient:
            maps, locations = case.args
            height, width = maps.shape[-2:]
            cells = locations * torch.tensor([width, height]) - 0.5
            assert (cells - cells.round()).abs().min() > 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_over_images_differs_from_that_over_queries(seed):
    for case in EXERCISES["set_classification_loss"].ladder(seed):
        if case.rung == "random" and case.args[1].ndim == 2 and len(case.args) == 2:
            logits, labels = case.args
            counts = (labels != logits.shape[-1] - 1).sum(dim=1)
            assert len(set(counts.tolist())) > 1


@pytest.mark.parametrize("seed", range(5))
def test_some_random_pairs_overlap_and_some_lie_apart(seed):
    apart, together = 0, 0
    for case in EXERCISES["matching_cost"].ladder(seed):
        if case.rung == "random":
            _, predicted, _, boxes = case.args
            gap = (predicted[..., :, None, :2] - boxes[..., None, :, :2]).abs()
            reach = (predicted[..., :, None, 2:] + boxes[..., None, :, 2:]) / 2
            overlapping = (gap < reach).all(dim=-1)
            together += int(overlapping.sum())
            apart += int((~overlapping).sum())
    assert min(apart, together) > 10
