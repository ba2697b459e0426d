"""Exercise 5.5: answers."""

import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


def inverse(x, eps=1e-5):
    """σ⁻¹; where the mistake is elsewhere."""
    x = x.clamp(min=eps, max=1 - eps)
    return torch.log(x / (1 - x))


@right
def with_logit(deltas, references):
    start = torch.logit(references, eps=1e-5)
    if references.shape[-1] == 2:
        start = torch.cat((start, torch.zeros_like(start)), dim=-1)
    return (deltas + start).sigmoid()


@right
def as_the_published_code(deltas, references):
    def inverse_sigmoid(x, eps=1e-5):
        x = x.clamp(min=0, max=1)
        return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))

    refined = deltas.clone()
    size = references.shape[-1]
    refined[..., :size] = refined[..., :size] + inverse_sigmoid(references)
    return refined.sigmoid()


@right
def by_odds(deltas, references):
    """The odds x : (1 − x) are multiplied by e^delta."""
    x = references.double().clamp(1e-5, 1 - 1e-5)
    if x.shape[-1] == 2:
        x = F.pad(x, (0, 2), value=0.5)
    odds = x / (1 - x) * deltas.double().exp()
    return (odds / (1 + odds)).to(deltas.dtype)


@right
def the_missing_sides_are_halves(deltas, references):
    if references.shape[-1] == 2:
        half = torch.full_like(references, 0.5)
        references = torch.cat([references, half], dim=-1)
    r = references.clamp(1e-5, 1 - 1e-5)
    return 1 / (1 + torch.exp(-(deltas + r.log() - (1 - r).log())))


@right
def centre_and_sides_apart(deltas, references):
    centre = torch.sigmoid(deltas[..., :2] + inverse(references[..., :2]))
    sides = deltas[..., 2:]
    if references.shape[-1] == 4:
        sides = sides + inverse(references[..., 2:])
    return torch.cat((centre, sides.sigmoid()), dim=-1)


@slightly_off
def a_thousandth_more(deltas, references):
    return 1.001 * centre_and_sides_apart(deltas, references)


@wrong("yours is added to the reference itself")
def no_inverse(deltas, references):
    if references.shape[-1] == 2:
        references = F.pad(references, (0, 2))
    return torch.sigmoid(deltas + references)


@wrong("yours adds σ(delta) to the reference")
def adds_a_share(deltas, references):
    moved = deltas.sigmoid()
    return torch.cat(
        (
            moved[..., : references.shape[-1]] + references,
            moved[..., references.shape[-1] :],
        ),
        dim=-1,
    )


@wrong("this moves the reference by the delta itself")
def plain_addition(deltas, references):
    if references.shape[-1] == 2:
        references = F.pad(references, (0, 2))
    return (references + deltas).clamp(0, 1)


@wrong("take the sigmoid of it")
def no_sigmoid(deltas, references):
    start = inverse(references)
    if references.shape[-1] == 2:
        start = F.pad(start, (0, 2))
    return deltas + start


@wrong("these are the deltas of R-CNN")
def as_in_chapter_2(deltas, references):
    centre, sides = references[..., :2], references[..., 2:]
    if references.shape[-1] == 2:
        sides = torch.ones_like(centre)
    return torch.cat((centre + sides * deltas[..., :2], sides * deltas[..., 2:].exp()), dim=-1)


@wrong("yours is upside down")
def upside_down(deltas, references):
    r = references.clamp(1e-5, 1 - 1e-5)
    start = torch.log((1 - r) / r)
    if references.shape[-1] == 2:
        start = F.pad(start, (0, 2))
    return torch.sigmoid(deltas + start)


@wrong("yours is ln x alone")
def plain_logarithm(deltas, references):
    start = torch.log(references.clamp(min=1e-5))
    if references.shape[-1] == 2:
        start = F.pad(start, (0, 2))
    return torch.sigmoid(deltas + start)


@wrong("a side at 0 stays there whatever the delta")
def no_epsilon(deltas, references):
    start = torch.log(references / (1 - references))
    if references.shape[-1] == 2:
        start = F.pad(start, (0, 2))
    return torch.sigmoid(deltas + start)


@wrong("moves by other steps")
def another_epsilon(deltas, references):
    start = torch.logit(references, eps=1e-3)
    if references.shape[-1] == 2:
        start = F.pad(start, (0, 2))
    return torch.sigmoid(deltas + start)


@wrong("0 is not the share 0")
def zeros_before_the_inverse(deltas, references):
    if references.shape[-1] == 2:
        references = F.pad(references, (0, 2))
    return torch.sigmoid(deltas + inverse(references))


@wrong("yours are x and y alone")
def points_stay_points(deltas, references):
    return torch.sigmoid(deltas[..., : references.shape[-1]] + inverse(references))


@wrong("yours takes its centre alone")
def forgets_the_sides(deltas, references):
    start = F.pad(inverse(references[..., :2]), (0, 2))
    return torch.sigmoid(deltas + start)


@wrong("references may be points, (..., 2)")
def boxes_only(deltas, references):
    return torch.sigmoid(deltas + inverse(references))


@wrong("references may be boxes, (..., 4)")
def points_only(deltas, references):
    centre = torch.sigmoid(deltas[..., :2] + inverse(references))
    return torch.cat((centre, deltas[..., 2:].sigmoid()), dim=-1)


@wrong("the delta is added; yours is subtracted")
def subtracts(deltas, references):
    start = inverse(references)
    if references.shape[-1] == 2:
        start = F.pad(start, (0, 2))
    return torch.sigmoid(start - deltas)


@wrong("changes the tensors it is given")
def writes_into_the_deltas(deltas, references):
    size = references.shape[-1]
    deltas.data[..., :size] += inverse(references)
    return deltas.sigmoid()


@wrong("in yours width and height are detached")
def sides_without_gradient(deltas, references):
    sides = deltas[..., 2:].detach()
    if references.shape[-1] == 4:
        sides = sides + inverse(references[..., 2:])
    centre = deltas[..., :2] + inverse(references[..., :2])
    return torch.cat((centre, sides), dim=-1).sigmoid()


@wrong("there is a loop over boxes")
def one_after_the_other(deltas, references):
    flat = references.reshape(-1, references.shape[-1])
    rows = [centre_and_sides_apart(d, r) for d, r in zip(deltas.reshape(-1, 4), flat)]
    return torch.stack(rows).view(deltas.shape) if rows else deltas.sigmoid()
