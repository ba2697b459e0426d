"""Exercise 8.3: answers."""

import math

import numpy as np
import torch

from answers import because, right, slightly_off, wrong


@right
def as_it_stands(step, steps, warmup, peak):
    t = (step - warmup) / (steps - warmup)
    fall = 0.5 * (1 + torch.cos(torch.pi * t))
    return peak * torch.where(step < warmup, (step + 1) / warmup, fall)


@right
def number_by_number(step, steps, warmup, peak):
    rates = []
    for s in step.tolist():
        if s < warmup:
            rates.append(peak * (s + 1) / warmup)
        else:
            t = (s - warmup) / (steps - warmup)
            rates.append(peak * (1 + math.cos(math.pi * t)) / 2)
    return torch.tensor(rates)


@right
def squared_cosine(step, steps, warmup, peak):
    t = (step.float() - warmup) / (steps - warmup)
    fall = torch.cos(t * math.pi / 2) ** 2
    rise = (step.float() + 1) / warmup
    early = (step < warmup).float()
    return peak * (early * rise + (1 - early) * fall)


@right
def in_numpy(step, steps, warmup, peak):
    s = step.numpy()
    fall = (1 + np.cos(np.pi * (s - warmup) / (steps - warmup))) / 2
    return torch.tensor(peak * np.where(s < warmup, (s + 1) / warmup, fall), dtype=torch.float32)


@slightly_off
def a_thousandth(step, steps, warmup, peak):
    t = (step - warmup) / (steps - warmup)
    fall = 0.5 * (1 + torch.cos(torch.pi * t))
    return 1.001 * peak * torch.where(step < warmup, (step + 1) / warmup, fall)


def made(rise, fall, step, warmup, peak):
    return peak * torch.where(step < warmup, rise, fall).float()


@wrong("the broken function still")
def unchanged(step, steps, warmup, peak):
    rise = (step + 1) / warmup
    progress = ((step - warmup) / warmup).clamp(max=1)
    return made(rise, (1 + torch.cos(math.pi * progress)) / 2, step, warmup, peak)


@wrong("again and again")
def without_the_limit(step, steps, warmup, peak):
    progress = (step - warmup) / warmup
    return made((step + 1) / warmup, (1 + torch.cos(math.pi * progress)) / 2, step, warmup, peak)


@wrong("stays at the peak")
def flat_after_the_rise(step, steps, warmup, peak):
    return peak * ((step + 1) / warmup).clamp(max=1)


@wrong("cut down to whole numbers")
def both_in_whole_numbers(step, steps, warmup, peak):
    t = (step - warmup) / (steps - warmup)
    return made((step + 1) // warmup, (1 + torch.cos(math.pi * t)) / 2, step, warmup, peak)


@wrong("not 0")
def begins_at_nought(step, steps, warmup, peak):
    t = (step - warmup) / (steps - warmup)
    return made(step / warmup, (1 + torch.cos(math.pi * t)) / 2, step, warmup, peak)


@wrong("not at step 0")
def cosine_from_the_start(step, steps, warmup, peak):
    t = step / steps
    return made((step + 1) / warmup, (1 + torch.cos(math.pi * t)) / 2, step, warmup, peak)


@wrong("divided by the steps after the rise")
def divided_by_all(step, steps, warmup, peak):
    t = (step - warmup) / steps
    return made((step + 1) / warmup, (1 + torch.cos(math.pi * t)) / 2, step, warmup, peak)


@wrong("along a line")
def straight_down(step, steps, warmup, peak):
    return made((step + 1) / warmup, (steps - step) / (steps - warmup), step, warmup, peak)


@wrong("falls below 0")
def whole_cosine(step, steps, warmup, peak):
    t = (step - warmup) / (steps - warmup)
    return made((step + 1) / warmup, torch.cos(math.pi * t), step, warmup, peak)


@wrong("a quarter of a cosine")
def quarter(step, steps, warmup, peak):
    t = (step - warmup) / (steps - warmup)
    return made((step + 1) / warmup, torch.cos(math.pi / 2 * t), step, warmup, peak)


@wrong("without it the cosine hardly falls")
def no_pi(step, steps, warmup, peak):
    t = (step - warmup) / (steps - warmup)
    return made((step + 1) / warmup, (1 + torch.cos(t)) / 2, step, warmup, peak)


@wrong("the rise is missing")
def no_rise(step, steps, warmup, peak):
    t = ((step - warmup) / (steps - warmup)).clamp(min=0)
    return peak * (1 + torch.cos(math.pi * t)) / 2


@wrong("twice the peak")
def not_halved(step, steps, warmup, peak):
    t = (step - warmup) / (steps - warmup)
    return made((step + 1) / warmup, 1 + torch.cos(math.pi * t), step, warmup, peak)


@wrong("the cure mends it, but the cause is another")
@because("loss")
def right_cure_for_another_cause(step, steps, warmup, peak):
    t = (step - warmup) / (steps - warmup)
    fall = 0.5 * (1 + torch.cos(torch.pi * t))
    return peak * torch.where(step < warmup, (step + 1) / warmup, fall)


@wrong("one behind the last")
def nought_at_the_last_step(step, steps, warmup, peak):
    t = (step - warmup) / max(1, steps - 1 - warmup)
    return made((step + 1) / warmup, (1 + torch.cos(math.pi * t)) / 2, step, warmup, peak)


@wrong("one behind the last")
def counted_from_one(step, steps, warmup, peak):
    t = (step + 1 - warmup) / (steps - warmup)
    return made((step + 1) / warmup, (1 + torch.cos(math.pi * t)) / 2, step, warmup, peak)
