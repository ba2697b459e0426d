"""Why is the AP not higher? Each mistake by its kind, and what it costs.

Source: Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors",
sections 2.2 (the kinds) and 2.3 (weighing them by AP).

A false positive is judged by its highest IoU with the targets of its own class and of other
classes; t_f is the IoU from which a detection is right (.5), t_b the IoU below which it is
background (.1):

| kind           | own class           | other class      | in words                          |
|:---------------|:--------------------|:-----------------|:----------------------------------|
| localisation   | t_b <= IoU < t_f    | any              | right class, box not good enough  |
| classification | IoU < t_b or >= t_f | IoU >= t_f       | good box, wrong class             |
| duplicate      | IoU >= t_f          | IoU < t_f        | right, but a better one was first |
| background     | IoU < t_b           | IoU < t_b        | nothing there                     |
| both           | IoU < t_b           | t_b <= IoU < t_f | wrong class, and a poor box       |

A target nobody found is *missed*, unless a classification or localisation error lies on it: then
curing that error would find it, and it is only *covered*.

The cost of a kind, its dAP, is the AP gained by an oracle that cures this kind alone:

- classification: the detection gets the class of its target; localisation: the box of its target.
  If several detections now claim one target, the best-scored stays and the others are removed.
- both, duplicate, background: the detection is removed.
- missed: the target is struck off, as if it need not be found.

The costs do not add up to 1 - AP, since errors hide one another.

Shape shorthand: D detections, G targets, P overlapping pairs, K classes.

Where we differ from the authors' code:

- The paper's intervals share their ends; ours are half-open, so that each case has one answer.
- Detections are matched by COCO's rules (coco.py), so that the AP is that of `coco_metrics`.
- A detection that COCO ignores, because it lies in a crowd, is no error of any kind. One version of
  the authors' code leaves it out of the AP and nevertheless counts it, mostly as background.
- The 100 best detections are those of each class in an image; the authors' are of all classes.
- The authors' code never lets an error replace a lower-scored right detection; the paper does
  ("suppress the lower scoring detection"), and so do we.
- A class of which all targets are missed stays in the mean with AP 0: the oracle assumes the
  missed were found as precisely as the others, and there are no others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from detlearn.metrics.coco import NOT_MATCHED, match, precision_at_levels, rank_detections
from detlearn.metrics.flat import FlatDetections, FlatTargets, flatten
from detlearn.metrics.pairs import overlapping_pairs

FALSE_POSITIVE_KINDS = ("classification", "localisation", "both", "duplicate", "background")
ERROR_KINDS = (*FALSE_POSITIVE_KINDS, "missed")


@dataclass(frozen=True, eq=False)
class ErrorAnalysis:
    """The mistakes of a detector by kind. In a notebook it shows itself as a table.

    Attributes:
        ap: AP at the IoU threshold, as `coco_metrics` counts it.
        counts: how many mistakes of each kind in ERROR_KINDS.
        dap: AP gained if that kind alone were cured, from 0 to 1.
        detection_kinds: one array of strings per image, parallel to its detections: "right", a kind
            of false positive, or "ignored" (in a crowd, or beyond the 100 best of image and class).
        target_kinds: one array of strings per image, parallel to its targets: "found", "missed",
            "covered" (by a classification or localisation error) or "ignored" (a crowd).
    """

    ap: float
    counts: dict[str, int]
    dap: dict[str, float]
    detection_kinds: list[np.ndarray]
    target_kinds: list[np.ndarray]

    def __str__(self) -> str:
        lines = [f"AP {100 * self.ap:.1f}", f"{'kind':15}{'count':>8}{'dAP':>8}"]
        for kind in ERROR_KINDS:
            lines.append(f"{kind:15}{self.counts[kind]:8}{100 * self.dap[kind]:8.1f}")
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        rows = ["| kind | count | dAP |", "|:--|--:|--:|"]
        for kind in ERROR_KINDS:
            rows.append(f"| {kind} | {self.counts[kind]} | {100 * self.dap[kind]:.1f} |")
        return "\n".join(rows)


@dataclass(frozen=True)
class _Judged:
    """Every detection with its verdict: kind (D,), and the target (D,) matched or meant, or -1."""

    kind: np.ndarray
    target: np.ndarray


def error_analysis(
    detections: Sequence[dict[str, Tensor]],
    targets: Sequence[dict[str, Tensor]],
    num_classes: int,
    iou_threshold: float = 0.5,
    background_threshold: float = 0.1,
) -> ErrorAnalysis:
    """Sort the mistakes of a detector into kinds and weigh each kind (Bolya et al. 2020).

    Args:
        detections: one dictionary per image, as for `coco_metrics`.
        targets: one dictionary per image, as for `coco_metrics`.
        num_classes: K.
        iou_threshold: t_f, the IoU from which a detection is right.
        background_threshold: t_b, the IoU below which a detection touches nothing.

    Returns:
        The kind of each detection and target, the counts and the AP that each kind costs.

    Raises:
        ValueError: not 0 < background_threshold < iou_threshold <= 1.
        TypeError, ValueError: malformed input; the message names the image and the key.
    """
    if not 0 < background_threshold < iou_threshold <= 1:
        raise ValueError(
            "expected 0 < background_threshold < iou_threshold <= 1, got "
            f"background_threshold={background_threshold}, iou_threshold={iou_threshold}"
        )

    # As in `coco_metrics`: by class and falling score, at most 100 of each class in an image.
    all_detections, flat_targets = flatten(detections, targets, num_classes)
    order, _ = rank_detections(all_detections)
    flat_detections = all_detections.take(order)

    judged = _judge(flat_detections, flat_targets, iou_threshold, background_threshold)
    target_kind = _judge_targets(judged, flat_targets)
    ap, dap = _weigh(flat_detections, flat_targets, judged, target_kind, num_classes)

    counts = {kind: int(np.sum(judged.kind == kind)) for kind in FALSE_POSITIVE_KINDS}
    counts["missed"] = int(np.sum(target_kind == "missed"))

    # Back to one array per image, in the order given; those beyond the 100 were not judged.
    detection_kind = np.full(len(all_detections), "ignored", dtype=object)
    detection_kind[order] = judged.kind
    num_images = len(detections)
    return ErrorAnalysis(
        ap=ap,
        counts=counts,
        dap=dap,
        detection_kinds=_split(detection_kind, all_detections.image, num_images),
        target_kinds=_split(target_kind, flat_targets.image, num_images),
    )


def _judge(
    detections: FlatDetections,
    targets: FlatTargets,
    iou_threshold: float,
    background_threshold: float,
) -> _Judged:
    """Give each detection its kind, following the table at the top of the file."""
    # The right ones, and those in a crowd, by COCO's matching; the one area range is "all".
    candidates, matched = match(
        detections, targets, targets.crowd[:, None], np.array([iou_threshold])
    )
    target = np.full(len(detections), NOT_MATCHED)
    target[candidates] = matched[:, 0, 0]  # (C, T = 1, A = 1) -> (C,)
    found = target != NOT_MATCHED
    in_crowd = found & np.append(targets.crowd, False)[target]  # -1 reads the appended False

    # For the others, how well each overlaps a target of its own class, and of another one.
    pair_detection, pair_target, iou = overlapping_pairs(
        detections, targets, min_iou=background_threshold, same_label=False
    )
    real = ~targets.crowd[pair_target]
    pair_detection, pair_target, iou = pair_detection[real], pair_target[real], iou[real]
    is_own = detections.label[pair_detection] == targets.label[pair_target]
    own, own_target = _best(pair_detection, pair_target, iou, is_own, len(detections))
    other, other_target = _best(pair_detection, pair_target, iou, ~is_own, len(detections))

    verdicts = {  # the first that holds
        "ignored": in_crowd,
        "right": found,
        "localisation": (own >= background_threshold) & (own < iou_threshold),
        "classification": other >= iou_threshold,
        "duplicate": own >= iou_threshold,
        "background": np.maximum(own, other) < background_threshold,
    }
    kind = np.select(list(verdicts.values()), list(verdicts), default="both").astype(object)

    target = np.where(kind == "localisation", own_target, target)
    target = np.where(kind == "classification", other_target, target)
    return _Judged(kind, target)


def _best(
    pair_detection: np.ndarray,
    pair_target: np.ndarray,
    iou: np.ndarray,
    allowed: np.ndarray,
    num_detections: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Find each detection's highest IoU (D,) over its allowed pairs, else 0, and that target."""
    rows = np.flatnonzero(allowed)
    rows = rows[np.lexsort((-iou[rows], pair_detection[rows]))]
    which, first = np.unique(pair_detection[rows], return_index=True)

    best = np.zeros(num_detections)
    best[which] = iou[rows[first]]
    target = np.full(num_detections, NOT_MATCHED)
    target[which] = pair_target[rows[first]]
    return best, target


def _judge_targets(judged: _Judged, targets: FlatTargets) -> np.ndarray:
    """Give each target its kind, (G,): "found", "covered", "missed" or "ignored"."""
    curable = np.isin(judged.kind, ("classification", "localisation"))

    # Later lines overrule earlier ones.
    kind = np.full(len(targets), "missed", dtype=object)
    kind[judged.target[curable]] = "covered"
    kind[judged.target[judged.kind == "right"]] = "found"
    kind[targets.crowd] = "ignored"
    return kind


def _weigh(
    detections: FlatDetections,
    targets: FlatTargets,
    judged: _Judged,
    target_kind: np.ndarray,
    num_classes: int,
) -> tuple[float, dict[str, float]]:
    """Compute the AP as it is, and the gain from curing each kind of error alone."""
    num_targets = np.bincount(targets.label[~targets.crowd], minlength=num_classes)
    present = num_targets > 0
    ap = _mean_ap(detections, judged, num_targets, present)

    gain = {}
    for kind in FALSE_POSITIVE_KINDS:
        cured_detections, cured = _cure(detections, targets, judged, kind)
        gain[kind] = _mean_ap(cured_detections, cured, num_targets, present) - ap

    missed = np.bincount(targets.label[target_kind == "missed"], minlength=num_classes)
    gain["missed"] = _mean_ap(detections, judged, num_targets - missed, present) - ap
    return ap, gain


def _cure(
    detections: FlatDetections, targets: FlatTargets, judged: _Judged, kind: str
) -> tuple[FlatDetections, _Judged]:
    """Make of the detections what the oracle for one kind of false positive does."""
    ill = judged.kind == kind
    keep = ~ill

    if kind in ("classification", "localisation"):
        # Right detections and cured ones claim their targets, the best-scored first.
        claiming = np.flatnonzero(ill | (judged.kind == "right"))
        claiming = claiming[np.argsort(-detections.score[claiming], kind="stable")]

        # The first to claim a target stays, the others are removed.
        _, winners = np.unique(judged.target[claiming], return_index=True)
        keep[claiming] = False
        keep[claiming[winners]] = True

        label = detections.label.copy()
        label[ill] = targets.label[judged.target[ill]]
        detections = replace(detections, label=label)
        judged = _Judged(np.where(ill, "right", judged.kind), judged.target)

    rows = np.flatnonzero(keep)
    return detections.take(rows), _Judged(judged.kind[rows], judged.target[rows])


def _mean_ap(
    detections: FlatDetections, judged: _Judged, num_targets: np.ndarray, present: np.ndarray
) -> float:
    """Average over the present classes the AP with 101 recall levels; -1 if there is none."""
    by_score = np.argsort(-detections.score, kind="stable")
    label, kind = detections.label[by_score], judged.kind[by_score]
    right = kind == "right"
    wrong = ~right & (kind != "ignored")

    aps = []
    for k in np.flatnonzero(present):
        rows = label == k
        curve = precision_at_levels(right[rows][None], wrong[rows][None], max(num_targets[k], 1))
        aps.append(curve.mean())

    return float(np.mean(aps)) if aps else -1.0


def _split(values: np.ndarray, image: np.ndarray, num_images: int) -> list[np.ndarray]:
    """Cut a flat array into one piece per image."""
    return np.split(values, np.searchsorted(image, np.arange(1, num_images)))[:num_images]
