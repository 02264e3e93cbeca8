"""A small anchor-free detector of dense 3 x 3 convolutions and ReLU, fast in bf16 and in int8."""

from collections.abc import Iterable
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
PRIOR = -4.6
"""Logit of the score that every cell starts with: 0.01, about the share of cells on an object."""


class Conv(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two convolutions beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(Conv(channels, channels), Conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class DenseNet(nn.Module):
    """RGB of 0 to 255, shape (n, 3, h, w), to one map a stride, shape (n, classes + 4, h/s, w/s).

    Channels: a logit a class; the way from the cell's centre to the box's, right and down, in
    strides; the natural logarithm of the box's width and height in strides.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.quarter = nn.Sequential(Conv(3, 16, 2), Conv(16, 32, 2), Conv(32, 32))
        self.eighth = nn.Sequential(Conv(32, 64, 2), Residual(64))
        self.sixteenth = nn.Sequential(Conv(64, 96, 2), Residual(96))
        self.thirtysecond = nn.Sequential(Conv(96, 128, 2), Residual(128))
        width = 48
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in (64, 96, 128))
        self.smooth = nn.ModuleList(Conv(width, width) for _ in range(2))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.shared = nn.ModuleList(Conv(width, width) for _ in STRIDES)
        self.output = nn.ModuleList(nn.Conv2d(width, classes + 4, 1) for _ in STRIDES)
        for layer in self.output:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
            layer.bias.data[:classes] = PRIOR

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        eighth = self.eighth(self.quarter(x / 255.0 - 0.5))
        sixteenth = self.sixteenth(eighth)
        p32 = self.lateral[2](self.thirtysecond(sixteenth))
        p16 = self.smooth[0](self.lateral[1](sixteenth) + self.up(p32))
        p8 = self.smooth[1](self.lateral[0](eighth) + self.up(p16))
        levels = zip((p8, p16, p32), self.shared, self.output, strict=True)
        return tuple(output(shared(level)) for level, shared, output in levels)


def take_over(network: DenseNet, path: Path, crops: Iterable[Tensor]) -> None:
    """Fill the network with the weights of one that was exported, so that both see the same.

    An exported network has its batch norms folded into the convolutions. They are unfolded with
    the means and variances that the crops give, so that training goes on as if it never stopped.
    """
    graph = onnx.load(path).graph
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    folded = [node.input for node in graph.node if node.op_type == "Conv"]
    convolutions = _in_order(network)
    if len(folded) != len(convolutions):
        raise SystemExit(f"{path} is no network of this shape")
    norms = {block[0]: block[1] for block in network.modules() if isinstance(block, Conv)}
    with torch.no_grad():
        for layer, (_, weight, bias) in zip(convolutions, folded, strict=True):
            layer.weight.copy_(torch.tensor(arrays[weight]))
            norm = norms.get(layer)
            if norm is None:
                layer.bias.copy_(torch.tensor(arrays[bias]))
            else:
                norm.bias.copy_(torch.tensor(arrays[bias]))
                norm.weight.fill_(1.0)
                norm.running_mean.zero_()
                norm.running_var.fill_(1.0 - norm.eps)
        _unfold(network, list(norms.values()), crops)


def _in_order(network: DenseNet) -> list[nn.Conv2d]:
    """The convolutions in the order in which they run, which is that of an exported graph."""
    order: list[nn.Conv2d] = []
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda one, *_: order.append(one)) for layer in layers]
    network.eval()(torch.zeros(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    return order


def _unfold(network: DenseNet, norms: list[nn.BatchNorm2d], crops: Iterable[Tensor]) -> None:
    """Give norms that change nothing but the bias the moments of what they are fed."""
    moments: dict[nn.Module, list[Tensor]] = {norm: [] for norm in norms}

    def watch(norm: nn.Module, fed: tuple[Tensor]) -> None:
        moments[norm].append(torch.stack([(fed[0] ** power).mean((0, 2, 3)) for power in (1, 2)]))

    hooks = [norm.register_forward_pre_hook(watch) for norm in norms]
    for crop in crops:
        network.eval()(crop.float())
    for hook in hooks:
        hook.remove()
    for norm in norms:
        mean, square = torch.stack(moments[norm]).mean(0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(square - mean**2)
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.add_(mean)


def export(network: DenseNet, path: Path) -> None:
    """Write the network as ONNX, for every height and width that is a multiple of 32."""
    names = [f"p{stride}" for stride in STRIDES]
    axes = {name: {2: f"{name}_height", 3: f"{name}_width"} for name in names}
    torch.onnx.export(
        network.eval().float(),
        (torch.zeros(1, 3, 384, 640),),
        str(path),
        input_names=["images"],
        output_names=names,
        dynamic_axes={"images": {2: "height", 3: "width"}, **axes},
        opset_version=17,
        dynamo=False,
    )
