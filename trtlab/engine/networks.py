"""engine/networks: the three teaching networks: what each is, and what to feed it.

In: a name (`MODELS` lists them). Out: a frozen `TeachingModel`: an eval-mode module, example inputs, labels where there
are any. Importing this file does not load torch; using it does. Checked by tests/engine/test_networks.py: the same
inputs each time, outputs worth comparing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trtlab.engine.digits import load_digits_split

if TYPE_CHECKING:
    from torch import Tensor, nn

INPUTS_SEED = 1


@dataclass(frozen=True, kw_only=True)
class TeachingModel:
    """One network that lessons use.

    `batch` is what lessons use; `sample_shape` is one input without its batch axis, which is axis 0 everywhere.
    `trained` is False where the weights are random: outputs then test arithmetic and mean nothing. A trained network is
    fed scans of digits that it has never seen.
    """

    name: str
    title: str
    what: str
    trained: bool
    sample_shape: tuple[int, ...]
    batch: int
    input_name: str
    output_name: str

    def make(self) -> "nn.Module":
        """A fresh FP32 module in eval mode, always with the same weights."""
        from trtlab.engine.modules import make_network

        return make_network(self.name)

    def example_input(self, batch: int = 1) -> "Tensor":
        """FP32 values [batch, *sample_shape]; sample i is the same on every call and at every batch. For the digits
        scans of the test split, from the beginning again after the last. ValueError for batch < 1."""
        import torch

        if batch < 1:
            raise ValueError(f"{self.name} needs a batch of at least one sample: got batch={batch}; use 1 or more")
        if self.trained:
            return torch.from_numpy(load_digits_split().test_images[_scans(batch)])
        return torch.randn(batch, *self.sample_shape, generator=torch.Generator().manual_seed(INPUTS_SEED))

    def labels(self, batch: int = 1) -> npt.NDArray[np.int64] | None:
        """What the samples of `example_input(batch)` show; None where the weights are random."""
        return load_digits_split().test_labels[_scans(batch)] if self.trained else None


def _scans(batch: int) -> npt.NDArray[np.intp]:
    return np.arange(batch) % len(load_digits_split().test_images)


def teaching_model(name: str) -> TeachingModel:
    """The teaching model of that name. Raises ValueError that lists the names there are."""
    if name not in MODELS:
        raise ValueError(
            f"there is no teaching model {name!r}: expected one of {', '.join(MODELS)}; "
            "for a network of your own pass the torch module and its example inputs"
        )
    return MODELS[name]


def _described() -> dict[str, TeachingModel]:
    values = json.loads((Path(__file__).parents[1] / "data" / "networks.json").read_text("utf-8"))
    return {one["name"]: TeachingModel(**one | {"sample_shape": tuple(one["sample_shape"])}) for one in values}


MODELS: Mapping[str, TeachingModel] = MappingProxyType(_described())
