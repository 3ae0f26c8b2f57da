"""A fifth model in one file: all that the other rooms ask of a model, stated by its class."""

from typing import Any, ClassVar

from torch import Tensor, nn

from eeglab_models.models.attention import Attend
from eeglab_models.models.base import EEGModel
from eeglab_models.models.contract import Contract
from eeglab_models.models.layout import Layout
from eeglab_models.models.patching import cut_patches


class FifthModel(EEGModel):
    """Patches become tokens, blocks relate them, and a linear head reads their mean."""

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        patch_size: int = 50,
        width: int = 8,
        depth: int = 2,
    ) -> None:
        super().__init__(locals())
        self.patch_size = self.patch_stride = patch_size
        self.embed_dim = width
        self.embedding = nn.Linear(patch_size, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.final_layer = self._build_head()

    def _build_head(self) -> nn.Module:
        return nn.Linear(self.embed_dim, self.n_outputs)

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor | dict[str, Tensor | None]:
        tokens = self.encode(x)
        if return_features:
            return {"features": tokens, "cls_token": None}
        return self.final_layer(tokens.mean(dim=(1, 2)))

    def encode(self, x: Tensor) -> Tensor:
        self.check_input(x, n_times_least=self.patch_size)
        patches = cut_patches(x, self.patch_size)
        tokens = self.embedding(patches).flatten(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens.unflatten(1, patches.shape[1:3])

    contract: ClassVar[Contract] = Contract(
        model="FifthModel",
        sfreq=100.0,
        unit="µV",
        scale=1.0,
        reference="any",
        band=(None, None),
        notch=None,
        window=2.0,
        patch=0.5,
        ch_names=None,
        channels_known_by="projection",
        fewer="work",
        more="work",
        unknown="work",
        sources={},
    )
    layout: ClassVar[Layout] = Layout(
        embedding=("embedding",), blocks="blocks", projections=r"blocks\.\d+\.(qkv|proj)"
    )


class Block(nn.Module):
    """Every token reads from all others, with one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attend = Attend()
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(tokens)).unsqueeze(1).chunk(3, dim=-1)
        return tokens + self.proj(self.attend(q, k, v).squeeze(1))
