"""Write the reference outputs that the tests compare with.

Run with a Python that has braindecode 1.8.1 (the reference implementation), from the repository:

    PEER_PYTHON tests/references/make.py                     # the small cases, kept in git
    PEER_PYTHON tests/references/make.py --full-size FOLDER  # the published sizes, for a comparison by hand

Every parameter and every statistic is perturbed first: at their initial values zero biases and unit
scales would hide that one of them is not used. Weights are rounded to half precision and a gradient is
folded into one number (in the order of the sorted names), which keeps the files small.
"""

import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))
from cases import CASES, Case  # noqa: E402


def perturb(model: torch.nn.Module) -> None:
    """Move every tensor away from its initial value; filter taps stay, they are not learned."""
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.is_floating_point() and not key.startswith("spectral_filtering."):
                if key.endswith(("running_var", "kernel_norm", "multiplier")):
                    value.mul_(torch.exp(0.05 * torch.randn_like(value)))
                else:
                    # Wide matrices would saturate everything after them if each of their entries moved far.
                    spread = value.std().item() if value.ndim > 1 else 0.0
                    value.add_(0.1 * (spread if spread > 0.01 else 1.0) * torch.randn_like(value))
                value.copy_(value.half())


def pack(key: str, value: torch.Tensor) -> torch.Tensor:
    """Store perturbed weights as what they were rounded to."""
    perturbed = value.is_floating_point() and not key.startswith("spectral_filtering.")
    return value.half() if perturbed else value.clone()


def call(model: torch.nn.Module, x: torch.Tensor, mask: torch.Tensor, kind: str) -> dict[str, torch.Tensor]:
    """Run one kind of call and name its outputs."""
    if kind == "train":
        model.train()
    keywords = {"features": {"return_features": True}, "masked": {"mask": mask}}.get(kind, {})
    output = model(x, **keywords)
    if isinstance(output, dict):
        return {f"{kind}.{name}": value for name, value in output.items() if value is not None}
    if isinstance(output, tuple):
        return {f"{kind}.{i}": value for i, value in enumerate(output)}
    return {kind: output}


def weigh(outputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Fold outputs into one number that depends on each of their values differently."""
    return sum(
        (value * torch.cos(torch.arange(value.numel()).view(value.shape))).sum() for value in outputs.values()
    )


def fold(gradient: torch.Tensor | None) -> torch.Tensor:
    """Fold a gradient into one number; a parameter that takes no part has none."""
    return torch.tensor(torch.nan) if gradient is None else weigh({"": gradient}).float()


def reference(case: Case) -> dict[str, torch.Tensor]:
    """Run a case in the reference implementation."""
    import braindecode.models

    torch.manual_seed(sum(map(ord, case.id)))
    arguments = dict(case.arguments)
    if case.preset:
        arguments |= braindecode.models.eegdino.EEGDINO_CONFIGS[case.preset]
    model = getattr(braindecode.models, case.model)(**arguments).eval()
    n_chans, patch_size = model.n_chans, arguments.get("patch_size", 200)
    x = case.scale * torch.randn(case.batch, n_chans, arguments["n_times"])
    mask = (torch.rand(case.batch, n_chans, arguments["n_times"] // patch_size) < 0.5).long()
    perturb(model)
    if not case.fresh:
        with torch.no_grad():
            model(x)
        perturb(model)
    kept = {f"state.{key}": pack(key, value) for key, value in model.state_dict().items()}
    kept |= {"input": x.clone(), "mask": mask}
    x.requires_grad_()
    for kind in case.calls:
        outputs = call(model, x, mask, kind)
        kept |= outputs
        if kind == "output" and case.gradients:
            weigh(outputs).backward()
            kept["gradients"] = torch.stack(
                [fold(parameter.grad) for _, parameter in sorted(model.named_parameters())]
            )
            kept["gradient-of-input"] = x.grad
    return {name: value.detach().clone().contiguous() for name, value in kept.items()}


def main() -> None:
    """Write one safetensors file per case."""
    full_size = "--full-size" in sys.argv
    folder = Path(sys.argv[-1]) if full_size else Path(__file__).parent
    folder.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        if case.full_size == full_size:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                save_file(reference(case), folder / f"{case.id}.safetensors")
            print(f"{case.id}: {(folder / f'{case.id}.safetensors').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
