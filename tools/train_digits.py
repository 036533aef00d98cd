"""tools/train_digits: `python -m tools.train_digits` trains the two digits networks that quantisation lessons need.

In: the training part of the digits split. Out: data/digits_depthwise.onnx and data/digits_transformer.onnx, some tens
of seconds each on one thread, from fixed seeds. tests/engine/test_networks.py scores the files. Each is
made so that it is hard for INT8, and `metadata_props` say how:

depthwise    A penalty on the BatchNorms' scales (network slimming, arXiv 1708.06519) leaves some channels nearly
             silent. Folding divides by their small deviations, so one tensor's weights differ a hundredfold from
             channel to channel. Nothing is done after training; penalty, rate and seed were chosen for a large effect.
transformer  So small a network grows no outlier channels of its own. After training, two channels behind each LayerNorm
             are multiplied by 128 and the columns of the matrices that read them divided by it: powers of two, so that
             the outputs keep every bit. SmoothQuant (arXiv 2211.10438) finds such channels in large language models.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import onnx
import torch
from torch import Tensor, nn

from trtlab.engine.export import export_onnx
from trtlab.engine.modules import TransformerBlock, conv3x3
from trtlab.engine.networks import TRAINED, load_digits_split

DATASET = "scikit-learn load_digits: UCI Optical Recognition of Handwritten Digits, test part, 1,797 scans"
BATCH_SIZE = 64
OUTLIER_FACTOR, OUTLIER_CHANNELS = 128, 2


class Separable(nn.Sequential):
    """A 3x3 convolution for each channel alone, then a 1x1 convolution over all; as in MobileNet (arXiv 1704.04861)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        depthwise = nn.Conv2d(channels_in, channels_in, 3, stride, padding=1, groups=channels_in, bias=False)
        pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        norms = nn.BatchNorm2d(channels_in), nn.BatchNorm2d(channels_out)
        super().__init__(depthwise, norms[0], nn.ReLU(), pointwise, norms[1], nn.ReLU())


class DepthwiseCNN(nn.Module):
    """Scans [N, 1, 8, 8] in 0..1 to logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv3x3(1, 24), nn.BatchNorm2d(24), nn.ReLU())
        self.blocks = nn.Sequential(
            Separable(24, 48), Separable(48, 64, stride=2), Separable(64, 64), Separable(64, 64)
        )
        self.fc = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(image)).mean((2, 3)))


class DigitsTransformer(nn.Module):
    """Scans [N, 1, 8, 8] in 0..1 to logits [N, 10]: each row of pixels is a token, two encoder blocks, the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.place = nn.Parameter(torch.randn(1, 8, 32) * 0.02)
        self.blocks = nn.Sequential(TransformerBlock(32, 4), TransformerBlock(32, 4))
        self.norm = nn.LayerNorm(32)
        self.fc = nn.Linear(32, 10)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.embed(image.squeeze(1)) + self.place
        return self.fc(self.norm(self.blocks(tokens)).mean(1))


def train(make: Callable[[], nn.Module], seed: int, epochs: int, rate: float, penalty: float = 0) -> nn.Module:
    """The network after so many epochs over the training part; `penalty` on the sum of all |BatchNorm scales|."""
    split = load_digits_split()
    images, labels = torch.tensor(split.train_images), torch.tensor(split.train_labels)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = make().train()
    scales = [layer.weight for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    steps = epochs * -(-len(images) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(BATCH_SIZE):
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            loss = loss + penalty * sum(scale.abs().sum() for scale in scales)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def with_outliers(model: nn.Module) -> nn.Module:
    """The same function, bit for bit: the largest two channels behind each LayerNorm of a block times 128."""
    for block in cast(Any, model.blocks):
        read = block.attention
        for norm, readers in ((block.norm1, (read.query, read.key, read.value)), (block.norm2, (block.mlp[0],))):
            chosen = norm.weight.abs().argsort()[-OUTLIER_CHANNELS:]
            norm.weight[chosen] *= OUTLIER_FACTOR
            norm.bias[chosen] *= OUTLIER_FACTOR
            for reader in readers:
                reader.weight[:, chosen] /= OUTLIER_FACTOR
    return model


def score(model: nn.Module) -> float:
    """The share of test scans it gets right."""
    split = load_digits_split()
    with torch.no_grad():
        right = model(torch.tensor(split.test_images)).argmax(1).numpy() == split.test_labels
    return float(right.mean())


def save(name: str, model: nn.Module, facts: Mapping[str, object]) -> None:
    """One file with input "image" ["batch", 1, 8, 8] and output "logits" ["batch", 10], BatchNorms folded."""
    proto = export_onnx(model, torch.zeros(2, 1, 8, 8), dynamic_batch=True)
    _rename(proto)
    proto.graph.name = f"digits_{name}"
    common = {"dataset": DATASET, "test_accuracy": f"{score(model):.4f}", "torch_version": torch.__version__}
    onnx.helper.set_model_props(proto, common | {key: str(value) for key, value in facts.items()})
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, TRAINED[name].path)
    print(f"{TRAINED[name].path.name}: {TRAINED[name].path.stat().st_size:,} bytes, {common['test_accuracy']} right")


def _rename(proto: onnx.ModelProto) -> None:
    """Input, output and weights get names that a person can read; folded biases and turned matrices have none."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    names = {proto.graph.input[0].name: "image", proto.graph.output[0].name: "logits"}
    names |= {name: name.replace(".weight_bias", ".bias") for name in weights if name.endswith(".weight_bias")}
    for node in proto.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights:
            names[node.input[1]] = node.name.replace("/MatMul", ".weight")
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer, *proto.graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in proto.graph.node:
        node.input[:] = [names.get(one, one) for one in node.input]
        node.output[:] = [names.get(one, one) for one in node.output]


def main() -> None:
    """Train and write both."""
    slim: dict[str, Any] = {"seed": 1, "epochs": 40, "rate": 2e-2, "penalty": 1e-4}
    save("depthwise", train(DepthwiseCNN, **slim), slim)
    plain: dict[str, Any] = {"seed": 0, "epochs": 60, "rate": 5e-3}
    said = f"{OUTLIER_CHANNELS} channels behind each LayerNorm times {OUTLIER_FACTOR}, their readers divided by it"
    save("transformer", with_outliers(train(DigitsTransformer, **plain)), plain | {"rescaled": said})


if __name__ == "__main__":
    main()
