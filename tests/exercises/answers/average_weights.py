"""Exercise 8.4: answers."""

import torch

from answers import because, right, slightly_off, wrong


@right
def as_it_stands(average, weights, step, decay):
    d = min(decay, (1 + step) / (10 + step))
    return d * average + (1 - d) * weights


@right
def a_step_towards_the_weights(average, weights, step, decay):
    share = 1 - min(decay, (1 + step) / (10 + step))
    return average + share * (weights - average)


@right
def with_lerp(average, weights, step, decay):
    return torch.lerp(weights, average, min(decay, (1 + step) / (10 + step)))


@right
def with_nine_tenths(average, weights, step, decay):
    """1 − (1 + t) / (10 + t) = 9 / (10 + t)."""
    share = max(1 - decay, 9 / (10 + step))
    return (1 - share) * average + share * weights


@slightly_off
def a_thousandth(average, weights, step, decay):
    d = min(decay, (1 + step) / (10 + step))
    return 1.001 * (d * average + (1 - d) * weights)


@wrong("the broken function still")
def unchanged(average, weights, step, decay):
    return decay * average + (1 - decay) * weights


@wrong("averages nothing")
def the_last_ones(average, weights, step, decay):
    return weights.clone()


@wrong("no step gets in")
def the_first_ones(average, weights, step, decay):
    return average.clone()


@wrong("yours is the larger")
def larger(average, weights, step, decay):
    d = max(decay, (1 + step) / (10 + step))
    return d * average + (1 - d) * weights


@wrong("d has a limit")
def no_limit(average, weights, step, decay):
    d = (1 + step) / (10 + step)
    return d * average + (1 - d) * weights


@wrong("gives it to the new weights")
def exchanged(average, weights, step, decay):
    d = min(decay, (1 + step) / (10 + step))
    return (1 - d) * average + d * weights


@wrong("the first step is number 0")
def counted_from_one(average, weights, step, decay):
    d = min(decay, (2 + step) / (11 + step))
    return d * average + (1 - d) * weights


@wrong("the mean of all steps")
def plain_mean(average, weights, step, decay):
    return (average * step + weights) / (step + 1)


@wrong("the two shares make 1")
def shares_beyond_one(average, weights, step, decay):
    d = min(decay, (1 + step) / (10 + step))
    return d * average + (1 - decay) * weights


@wrong("as Adam does")
def corrected_like_adam(average, weights, step, decay):
    new = decay * average + (1 - decay) * weights
    return new / (1 - decay ** (step + 1))


@wrong("not to be multiplied")
def product(average, weights, step, decay):
    d = decay * (1 + step) / (10 + step)
    return d * average + (1 - d) * weights


@wrong("the cure mends it, but the cause is another")
@because("learning rate")
def right_cure_for_another_cause(average, weights, step, decay):
    d = min(decay, (1 + step) / (10 + step))
    return d * average + (1 - d) * weights


@wrong("spoils a long one")
def a_smaller_decay(average, weights, step, decay):
    return 0.95 * average + 0.05 * weights


@wrong("spoils a long one")
def at_most_a_smaller_decay(average, weights, step, decay):
    d = min(decay, 0.9)
    return d * average + (1 - d) * weights
