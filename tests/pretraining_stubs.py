"""A small objective that has everything the loop must get right, and windows for it."""

import small_models
import torch
from torch import nn

from eeglab_models.models.codebrain import CodeBrain
from eeglab_models.models.eegdino import EEGDINO
from eeglab_models.models.eegpt import EEGPT
from eeglab_models.pretraining.codebrain.code_prediction import CodePrediction
from eeglab_models.pretraining.codebrain.tokenizer import TFDualTokenizer
from eeglab_models.pretraining.eegdino.self_distillation import SelfDistillation
from eeglab_models.pretraining.eegpt.alignment import MaskedAlignment
from eeglab_models.pretraining.objective import Objective, follow
from eeglab_models.training.processes import mean_over_processes

# Without dropout, which every process draws for itself.
TOKENIZER = {
    "n_chans": 3,
    "n_times": 120,
    "patch_size": 30,
    "embed_dim": 12,
    "n_layers": 1,
    "n_heads": 3,
    "n_decoder_layers": 1,
    "conv_stride": 10,
    "n_codes": 8,
    "code_dim": 4,
}
CODEBRAIN = {
    "n_outputs": 2,
    "n_chans": 3,
    "n_times": 120,
    "patch_size": 30,
    **small_models.CODEBRAIN,
    "drop_prob": 0.0,
    "spectral_dropout": 0.0,
    "codebook_size_t": 8,
    "codebook_size_f": 8,
    "pretrain_mode": True,
}
EEGPT_SIZES = {"n_outputs": 2, **small_models.EEGPT}
EEGDINO_SIZES = {
    "n_outputs": 2,
    "n_chans": 6,
    "n_times": 100,
    "patch_size": 20,
    "n_layer": 2,
    "nhead": 2,
    "dim_feedforward": 16,
    "channels_kernel_stride_padding_norm": ((4, 9, 5, 4, (2, 4)),),
    "drop_prob": 0.0,
}


class TinyObjective(Objective):
    """Predicts a teacher's view of whole windows from masked ones; has dropout, a teacher and a centre."""

    def __init__(self, drop_prob=0.1, bad_step=None, still=False):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Dropout(drop_prob), nn.Linear(6, 5))
        self.teacher = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5)).requires_grad_(False)
        # As the head of a real encoder: it learns nothing here.
        self.unused = nn.Linear(2, 2)
        self.register_buffer("centre", torch.zeros(5))
        self.register_buffer("n_updates", torch.tensor(0))
        self.bad_step, self.arguments = bad_step, {"drop_prob": drop_prob, "still": still}
        # Nothing follows the student, so that every step has the same task.
        self.still = still
        self.started_with = None

    def start(self, windows):
        self.started_with = windows

    def draw(self, windows, generator=None):
        shared = torch.rand(1, windows.shape[-1], generator=generator) < 0.8
        own = torch.rand(windows.shape, generator=generator) < 0.7
        return {"shared": shared, "own": own}

    def forward(self, windows, drawn=None):
        drawn = self.draw(windows) if drawn is None else drawn
        masked = windows * drawn["own"] * drawn["shared"][:, None]
        if self.training and not self.still:
            mean = mean_over_processes(self.teacher(windows).float().mean((0, 1)))
            self.centre.lerp_(mean, 0.1)
        error = (self.encoder(masked) - (self.teacher(windows) - self.centre).detach()).square().mean()
        loss = error * torch.nan if self.bad_step == self.n_updates.item() + 1 else error
        return {"loss": loss, "error": error.detach(), "centre": self.centre.norm()}

    def update(self, progress):
        self.n_updates += 1
        if self.still:
            return
        own = [module for module in self.encoder if not isinstance(module, nn.Dropout)]
        follow(self.teacher, nn.Sequential(*own), 0.9 + 0.1 * progress)

    def trivial_loss(self):
        return {"loss": 1.0}


def tiny_windows(n_windows=40, seed=5):
    return torch.randn(n_windows, 3, 8, generator=torch.Generator().manual_seed(seed))


def tiny_objective(**arguments):
    torch.manual_seed(3)
    return TinyObjective(**arguments)


def build_tiny(**arguments):
    return tiny_objective(**arguments), tiny_windows()


def build_tokenizer():
    torch.manual_seed(3)
    return TFDualTokenizer(**TOKENIZER), make_windows(3, 120)


def build_codes():
    tokenizer, windows = build_tokenizer()
    tokenizer.start(windows)
    return CodePrediction(CodeBrain(**CODEBRAIN), tokenizer), windows


def build_alignment():
    torch.manual_seed(3)
    return MaskedAlignment(EEGPT(**EEGPT_SIZES), n_visible_channels=3), make_windows(7, 96)


def build_distillation():
    torch.manual_seed(3)
    objective = SelfDistillation(
        EEGDINO(**EEGDINO_SIZES), hidden_dim=12, bottleneck_dim=6, n_prototypes=10, koleo_weight=0.1
    )
    return objective, make_windows(6, 100)


def make_windows(n_chans, n_times):
    return torch.randn(24, n_chans, n_times, generator=torch.Generator().manual_seed(5))


BUILDERS = {
    "tiny": build_tiny,
    "tokenizer": build_tokenizer,
    "codes": build_codes,
    "alignment": build_alignment,
    "distillation": build_distillation,
}
