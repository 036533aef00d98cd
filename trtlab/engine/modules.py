"""engine/modules: the torch code of the teaching networks, with their weights.

In: nothing but torch (imported at the top: import this file lazily) and the stored weights of one network. Out: three
`nn.Module` classes, and `make_network`: the digits network as it was trained, the other two with seeded weights.
Checked by tests/engine/test_networks.py: shapes, parameter counts, the same weights each time.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

WEIGHTS_SEED = 0


def conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size at stride 1; no bias, because a BatchNorm follows and has one."""
    return nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))): the block of ResNet-18 (He et al. 2015, figure 2).

    A 1x1 convolution brings x to the right shape when channels or stride change.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels_in, channels_out, stride)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = conv3x3(channels_out, channels_out)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU()
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            shrink = nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shrink, nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + shortcut)


class DigitsCNN(nn.Module):
    """Scans [N, 1, 8, 8] in 0..1 to logits [N, 10]; about 38,000 parameters.

    Small, and still one of each thing that TensorRT fuses: Conv+BN+ReLU, a residual add, pooling, a Gemm.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv3x3(1, 32)
        self.bn1 = nn.BatchNorm2d(32)
        self.block = BasicBlock(32, 32)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = conv3x3(32, 64)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.pool(self.block(self.relu(self.bn1(self.conv1(image)))))
        x = self.mean(self.relu(self.bn2(self.conv2(x))))
        return self.fc(x.flatten(1))


class ResNet18(nn.Module):
    """Images [N, 3, 224, 224] to logits [N, 1000]; 11,689,512 parameters with torchvision's parameter names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64), BasicBlock(64, 64))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, stride=2), BasicBlock(128, 128))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, stride=2), BasicBlock(256, 256))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, stride=2), BasicBlock(512, 512))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, 1000)

    def forward(self, image: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class Attention(nn.Module):
    """softmax(q k^T / sqrt(d)) v per head, [N, T, C] to [N, T, C], in plain MatMul and Softmax.

    q, k and v are three separate Linears on one input: the textbook case of horizontal fusion.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def split(self, x: Tensor) -> Tensor:
        """[N, T, C] to [N, heads, T, C / heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(q, k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        mixed = torch.matmul(torch.softmax(scores, dim=-1), v)
        return self.out(mixed.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """One pre-LN encoder block, tokens [N, 128, 256] to features of the same shape, as in ViT.

    x + attention(norm1(x)), then x + mlp(norm2(x)) with a GELU in a four times wider middle.
    """

    def __init__(self, channels: int = 256, heads: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        x = tokens + self.attention(self.norm1(tokens))
        return x + self.mlp(self.norm2(x))


def make_network(name: str, stored: Path | None = None) -> nn.Module:
    """A fresh FP32 module of one of `NETWORKS` in eval mode, always with the same weights.

    They are read back from the ONNX file `stored`, else random but sensible. torch's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(WEIGHTS_SEED)
        module = NETWORKS[name]()
        with torch.no_grad():
            for layer in module.modules():
                _randomise(layer)
    if stored is not None:
        _restore(module, stored)
    return module.eval()


NETWORKS: dict[str, type[nn.Module]] = {"digits": DigitsCNN, "resnet18": ResNet18, "transformer": TransformerBlock}


def _randomise(layer: nn.Module) -> None:
    """He initialisation for convolutions; norms far enough from the identity that folding one wrongly would show."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
        nn.init.uniform_(layer.weight, 0.4, 1.0)
        nn.init.normal_(layer.bias, std=0.1)
    if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
        nn.init.normal_(layer.running_mean, std=0.1)
        nn.init.uniform_(layer.running_var, 0.5, 1.5)


def _restore(module: nn.Module, path: Path) -> None:
    """Give the network the weights of its ONNX file, which have the same names."""
    import onnx

    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    counters = {name: value for name, value in module.state_dict().items() if name.endswith("num_batches_tracked")}
    weights = {name: torch.tensor(stored[name]) for name in module.state_dict() if name not in counters}
    module.load_state_dict(counters | weights)
