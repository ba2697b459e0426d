"""Exercise 2.6: answers."""

import torch

from answers import right, slightly_off, wrong


@right
def with_permute_and_reshape(scores, deltas):
    b = scores.shape[0]
    scores = scores.permute(0, 2, 3, 1).reshape(b, -1)
    deltas = deltas.permute(0, 2, 3, 1).reshape(b, -1, 4)
    return scores, deltas


@right
def as_in_torchvision(scores, deltas):
    b, a, h, w = scores.shape
    scores = scores.view(b, a, 1, h, w).permute(0, 3, 4, 1, 2).reshape(b, -1)
    deltas = deltas.view(b, a, 4, h, w).permute(0, 3, 4, 1, 2).reshape(b, -1, 4)
    return scores, deltas


@right
def with_einsum(scores, deltas):
    a = scores.shape[1]
    flat = torch.einsum("baij->bija", scores).flatten(1)
    moves = torch.einsum("badij->bijad", deltas.unflatten(1, (a, 4)))
    return flat, moves.flatten(1, 3)


@right
def anchor_by_anchor(scores, deltas):
    a = scores.shape[1]
    flat = torch.stack([scores[:, k].flatten(1) for k in range(a)], dim=2).flatten(1)
    moves = [deltas[:, 4 * k : 4 * k + 4].flatten(2).transpose(1, 2) for k in range(a)]
    return flat, torch.stack(moves, dim=2).flatten(1, 2)


@right
def with_movedim(scores, deltas):
    scores = scores.movedim(1, -1).contiguous()
    deltas = deltas.movedim(1, -1).contiguous()
    return scores.view(len(scores), -1), deltas.view(len(deltas), -1, 4)


@slightly_off
def deltas_a_thousandth_too_large(scores, deltas):
    scores, deltas = with_permute_and_reshape(scores, deltas)
    return scores, 1.001 * deltas


@wrong("flatten and view keep the order of the memory")
def only_views(scores, deltas):
    return scores.reshape(len(scores), -1), deltas.reshape(len(deltas), -1, 4)


@wrong("the deltas are only reshaped")
def deltas_viewed(scores, deltas):
    b = scores.shape[0]
    return scores.permute(0, 2, 3, 1).reshape(b, -1), deltas.reshape(b, -1, 4)


@wrong("the scores are only flattened")
def scores_viewed(scores, deltas):
    b = scores.shape[0]
    return scores.flatten(1), deltas.permute(0, 2, 3, 1).reshape(b, -1, 4)


@wrong("all locations of the first anchor")
def anchors_outside(scores, deltas):
    b, a, h, w = scores.shape
    return scores.view(b, -1), deltas.view(b, a, 4, h, w).permute(0, 1, 3, 4, 2).reshape(b, -1, 4)


@wrong("goes down the columns")
def columns_first(scores, deltas):
    b = scores.shape[0]
    return scores.permute(0, 3, 2, 1).reshape(b, -1), deltas.permute(0, 3, 2, 1).reshape(b, -1, 4)


@wrong("goes down the columns")
def with_all_axes_reversed(scores, deltas):
    b = scores.shape[0]
    flat = torch.stack([one.permute(2, 1, 0).reshape(-1) for one in scores.unbind(0)])
    return flat, deltas.permute(0, 3, 2, 1).reshape(b, -1, 4)


@wrong("not 4 times A")
def four_times_a(scores, deltas):
    b, a, h, w = scores.shape
    moves = deltas.view(b, 4, a, h, w).permute(0, 3, 4, 2, 1).reshape(b, -1, 4)
    return scores.permute(0, 2, 3, 1).reshape(b, -1), moves


@wrong("the four deltas of an anchor stay together")
def deltas_cut_wrongly(scores, deltas):
    b, a, h, w = scores.shape
    moves = deltas.view(b, a, 4, h, w).permute(0, 3, 4, 2, 1).reshape(b, -1, 4)
    return scores.permute(0, 2, 3, 1).reshape(b, -1), moves


@wrong("every image has a list of its own")
def one_long_list(scores, deltas):
    return scores.permute(0, 2, 3, 1).reshape(-1), deltas.permute(0, 2, 3, 1).reshape(-1, 4)


@wrong("the images are mixed")
def batch_in_the_middle(scores, deltas):
    b = scores.shape[0]
    scores = scores.permute(2, 3, 0, 1).reshape(b, -1)
    return scores, deltas.permute(2, 3, 0, 1).reshape(b, -1, 4)


@wrong("yours is the first alone")
def only_the_first_image(scores, deltas):
    scores, deltas = scores[0].permute(1, 2, 0), deltas[0].permute(1, 2, 0)
    return scores.reshape(1, -1), deltas.reshape(1, -1, 4)


@wrong("without a last dimension of 1")
def scores_in_a_column(scores, deltas):
    b = scores.shape[0]
    scores = scores.permute(0, 2, 3, 1).reshape(b, -1, 1)
    return scores, deltas.permute(0, 2, 3, 1).reshape(b, -1, 4)


@wrong("an anchor has a place of its own")
def by_location(scores, deltas):
    return scores.flatten(2).transpose(1, 2), deltas.flatten(2).transpose(1, 2)


@wrong("yours keeps the map")
def keeps_the_map(scores, deltas):
    b, a, h, w = scores.shape
    return scores.permute(0, 2, 3, 1), deltas.permute(0, 2, 3, 1).reshape(b, h, w, a, 4)


@wrong("yours are one long list")
def deltas_in_a_row(scores, deltas):
    scores, deltas = scores.permute(0, 2, 3, 1), deltas.permute(0, 2, 3, 1)
    return scores.flatten(1), deltas.flatten(1)


@wrong("yours are exchanged")
def deltas_first(scores, deltas):
    scores, deltas = with_permute_and_reshape(scores, deltas)
    return deltas, scores


@wrong("yours are the scores alone")
def forgets_the_deltas(scores, deltas):
    return scores.permute(0, 2, 3, 1).flatten(1)


@wrong("the scores stay logits")
def squashes(scores, deltas):
    scores, deltas = with_permute_and_reshape(scores, deltas)
    return torch.sigmoid(scores), deltas


@wrong("no gradient with respect to the first argument")
def with_data(scores, deltas):
    return with_permute_and_reshape(scores.data, deltas.data)


@wrong("there is a loop over rows and columns")
def location_by_location(scores, deltas):
    b, a, h, w = scores.shape
    flat, moves = [], []
    for i in range(h):
        for j in range(w):
            flat.append(scores[:, :, i, j])
            moves.append(deltas[:, :, i, j].reshape(b, a, 4))
    return torch.cat(flat, dim=1), torch.cat(moves, dim=1)


@wrong("ValueError")
def unpacks_three(scores, deltas):
    _, height, width = scores.shape
    deltas = deltas.permute(1, 2, 0).reshape(height * width, -1, 4)
    return scores.permute(1, 2, 0).reshape(-1), deltas.flatten(0, 1)


@wrong("not from the list of locations")
def cuts_four_from_the_front(scores, deltas):
    batch = len(scores)
    moves = deltas.permute(0, 2, 3, 1).reshape(batch, 4, -1).transpose(1, 2)
    return scores.permute(0, 2, 3, 1).reshape(batch, -1), moves


@wrong("the images are mixed")
def images_at_the_end(scores, deltas):
    batch = len(scores)
    moves = deltas.permute(2, 3, 1, 0).reshape(batch, -1, 4)
    return scores.permute(2, 3, 1, 0).reshape(batch, -1), moves


@wrong("but the scores go down the columns")
def scores_down_the_columns(scores, deltas):
    batch = len(scores)
    moves = deltas.permute(0, 2, 3, 1).reshape(batch, -1, 4)
    return scores.permute(0, 3, 2, 1).reshape(batch, -1), moves
