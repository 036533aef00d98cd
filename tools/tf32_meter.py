"""Meters what TF32 products of a GPU read and keep. On a GPU: `python -m tools.tf32_meter`."""

from typing import Any

from trtlab.engine import recordings
from trtlab.engine.measure import device_name, live

SIZE = 1024
COMMAND = "python -m tools.tf32_meter"
NUMBERS = {
    "1 + 2^-10": 1 + 2**-10, "1 + 2^-11": 1 + 2**-11, "1 + 2^-11 + 2^-12": 1 + 2**-11 + 2**-12,
    "1 + 2^-10 + 2^-11": 1 + 2**-10 + 2**-11, "-(1 + 2^-11 + 2^-12)": -(1 + 2**-11 + 2**-12), "1e38": 1e38,
}  # fmt: skip


def product(a: Any, b: Any, *, tf32: bool) -> Any:
    """a @ b, both float32, with TF32 allowed or not."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = tf32
    return a @ b


def through(numbers: list[float], *, tf32: bool = True, half: bool = False) -> list[float]:
    """What is left of each number, alone in its row, when a product multiplies it by 1."""
    import torch

    a, one = torch.zeros(SIZE, SIZE, device="cuda"), torch.eye(SIZE, device="cuda")
    a.diagonal()[: len(numbers)] = torch.tensor(numbers, dtype=torch.float32, device="cuda")
    made = (a.half() @ one.half()).float() if half else product(a, one, tf32=tf32)
    return made.diagonal()[: len(numbers)].tolist()


def meter() -> dict[str, Any]:
    """Exponents and mantissa bits that come through, single numbers, a sum, errors against float64."""
    import torch

    bits = {f"{k}": 1 + 2.0**-k for k in range(1, 24)}
    powers = [2.0**e for e in range(-126, 128)]
    a, b = (torch.randn(SIZE, SIZE, device="cuda", generator=torch.Generator("cuda").manual_seed(s)) for s in (0, 1))
    exact = a.double() @ b.double()
    sums = torch.zeros(SIZE, SIZE, device="cuda")
    sums[:, 0], sums[:, 1] = 1, 2.0**-20
    made = product(a, b, tf32=True)
    return {
        "mantissa": sum(x == y for x, y in zip(through([*bits.values()]), bits.values(), strict=True)),
        "exponents": sum(x == y for x, y in zip(through(powers), powers, strict=True)),
        "half_exponents": sum(x == y for x, y in zip(through(powers, half=True), powers, strict=True)),
        "minus": through([-1.0])[0],
        "numbers": {
            name: [through([x], tf32=False)[0], through([x])[0], str(through([x], half=True)[0])]
            for name, x in NUMBERS.items()
        },
        "sum": product(sums, torch.ones_like(sums), tf32=True)[0, 0].item() - 1,
        "dtype": str(made.dtype).removeprefix("torch."), "bytes": made.element_size(),
        "errors": {
            name: ((product(a, b, tf32=tf32).double() - exact).abs().max() / exact.abs().max()).item()
            for name, tf32 in (("FP32", False), ("TF32", True))
        },
    }  # fmt: skip


if __name__ == "__main__":
    import torch

    provenance = live(["torch"], device=torch.cuda.get_device_name())
    print(
        recordings.save(
            {"value": True, "facts": meter(), "provenance": provenance}, f"tf32-{device_name('cuda')}", COMMAND
        )
    )
