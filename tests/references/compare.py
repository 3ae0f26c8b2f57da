"""Compare our models with reference outputs; as a script, print the table of relative errors.

python tests/references/compare.py [FOLDER]
"""

import math
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file

import eeglab_models

sys.path.insert(0, str(Path(__file__).parent))
from cases import CASES, Case  # noqa: E402
from make import call, fold, weigh  # noqa: E402

REFERENCES = Path(__file__).parent


def build(case: Case) -> torch.nn.Module:
    """Build our model of a case, in evaluation mode."""
    preset = eeglab_models.EEGDINO_CONFIGS[case.preset] if case.preset else {}
    return getattr(eeglab_models, case.model)(**case.arguments, **preset).eval()


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference over the largest reference value; NaN must meet NaN."""
    if ours.shape != theirs.shape or not torch.equal(ours.isnan(), theirs.isnan()):
        return math.inf
    return ((ours - theirs).nan_to_num().abs().max() / theirs.nan_to_num().abs().max()).item()


def compare(case: Case, folder: Path = REFERENCES) -> dict[str, float]:
    """Load the reference's weights strictly and return the relative error of everything it stored."""
    reference = load_file(folder / f"{case.id}.safetensors")
    model = build(case)
    own = model.state_dict()
    state = {
        key.removeprefix("state."): value for key, value in reference.items() if key.startswith("state.")
    }
    model.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()}, strict=True)
    x = reference["input"].requires_grad_()
    errors = {}
    for kind in case.calls:
        outputs = call(model, x, reference["mask"], kind)
        errors |= {name: relative_error(value.detach(), reference[name]) for name, value in outputs.items()}
        if kind == "output" and case.gradients:
            weigh(outputs).backward()
            folded = torch.stack([fold(parameter.grad) for _, parameter in sorted(model.named_parameters())])
            errors["gradients"] = relative_error(folded, reference["gradients"])
            errors["gradient-of-input"] = relative_error(x.grad, reference["gradient-of-input"])
    return errors


def main() -> None:
    """Print one line per case."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REFERENCES
    worst = 0.0
    print("| model | case | largest relative error | of |\n|---|---|---|---|")
    for case in CASES:
        if (folder / f"{case.id}.safetensors").exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                errors = compare(case, folder)
            name = max(errors, key=errors.get)
            worst = max(worst, errors[name])
            print(f"| {case.model} | {case.name} | {errors[name]:.1e} | {name} |")
    print(f"\nLargest: {worst:.1e}")


if __name__ == "__main__":
    main()
