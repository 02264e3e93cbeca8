"""Which cells stand for which object, and how far the network's maps are from that."""

from functools import cache

import torch
import torch.nn.functional as functional
from torch import Tensor

from training.crops import OBJECT, Batch
from training.network import STRIDES

RANGES = ((0, 48), (48, 128), (128, 1_000_000))
"""Sizes in pixels, width or 2.2 heights, that the cells of each stride stand for."""

UNTRUSTED = 0.6
"""Weight of the background in photos where objects may lack a label."""

BOX_WEIGHT = 1.5

SURE = 0.6
"""Score that an object shall have however badly its box fits; a perfect box makes it 1.

Small boxes never fit well, and a missed small plate is missed all the same.
"""


@cache
def cells(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of all cells of all strides: centres (n, 2), strides (n,) and ranges (n, 2), in pixels."""
    centres, strides, ranges = [], [], []
    for stride, limits in zip(STRIDES, RANGES, strict=True):
        count = side // stride
        y, x = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
        centres.append((torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((count * count,), float(stride)))
        ranges.append(torch.tensor(limits, dtype=torch.float32).expand(count * count, 2))
    return torch.cat(centres), torch.cat(strides), torch.cat(ranges)


def assign(labels: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """For each cell the index of its object or -1, and whether it counts (1 or 0).

    A cell stands for an object if it lies near its centre and has the right stride for its size.
    Other cells inside an object count for nothing. The smaller of two objects wins.
    """
    centres, strides, ranges = cells(side)
    target = torch.full((len(centres),), -1, dtype=torch.long)
    counts = torch.ones(len(centres))
    sizes = labels[:, 2:4] - labels[:, :2]
    for index in torch.argsort(sizes.prod(dim=1), descending=True).tolist():
        width, height = sizes[index].tolist()
        away = (centres - (labels[index, :2] + labels[index, 2:4]) / 2).abs()
        half = torch.tensor([width / 2, height / 2])
        counts[(away < half + strides[:, None] / 2).all(dim=1) & (target < 0)] = 0
        if labels[index, 4] != OBJECT:
            continue
        size = max(width, 2.2 * height)
        reach = torch.stack(
            [(0.95 * strides).clamp(min=0.18 * width), (0.7 * strides).clamp(min=0.18 * height)], 1
        )
        fits = (size >= 0.85 * ranges[:, 0]) & (size < 1.15 * ranges[:, 1])
        near = (away < reach).all(dim=1) & fits
        target[near] = index
        counts[near] = 1
    return target, counts


def loss(maps: tuple[Tensor, ...], batch: Batch) -> tuple[Tensor, Tensor]:
    """Losses of scores and of boxes, each a sum divided by the number of cells on objects.

    Scores: quality focal loss, whose target rises with the IoU of the predicted box (Generalized
    Focal Loss, arXiv 2006.04388). Boxes: GIoU (arXiv 1902.09630).
    """
    side = batch.crops.shape[-1]
    flat = torch.cat([level.float().flatten(2).transpose(1, 2) for level in maps], 1)
    score_loss = box_loss = torch.zeros(())
    objects = 0
    for prediction, labels, trusted in zip(flat, batch.labels, batch.trusted, strict=True):
        target, counts = assign(labels, side)
        positive = target >= 0
        score = prediction[:, 0]
        quality = torch.zeros_like(score)
        if positive.any():
            boxes = decode(prediction[positive, 1:], side, positive)
            overlap, generalised = iou(boxes, labels[target[positive], :4])
            box_loss = box_loss + (1 - generalised).sum()
            quality[positive] = SURE + (1 - SURE) * overlap.detach()
            objects += int(positive.sum())
        weight = (score.detach().sigmoid() - quality).abs().square() * counts
        if not trusted:
            weight = torch.where(positive, weight, weight * UNTRUSTED)
        errors = functional.binary_cross_entropy_with_logits(score, quality, reduction="none")
        score_loss = score_loss + (errors * weight).sum()
    return score_loss / max(1, objects), BOX_WEIGHT * box_loss / max(1, objects)


def decode(offsets: Tensor, side: int, chosen: Tensor) -> Tensor:
    """Boxes, (n, 4) in pixels, from the last four channels of the chosen cells."""
    centres, strides, _ = cells(side)
    stride = strides[chosen, None]
    centre = centres[chosen] + offsets[:, :2] * stride
    size = offsets[:, 2:].clamp(-4, 6).exp() * stride
    return torch.cat([centre - size / 2, centre + size / 2], 1)


def iou(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of each box with the other of the same row."""
    inner = torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])
    outer = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    intersection = inner.clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (others[:, 2:] - others[:, :2]).prod(dim=1)
    union = (areas - intersection).clamp(min=1e-6)
    hull = outer.prod(dim=1).clamp(min=1e-6)
    return intersection / union, intersection / union - (hull - union) / hull
