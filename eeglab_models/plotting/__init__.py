"""One function per figure: it takes data and returns the figure.

Figures stand by what they show: recordings, features, maps, scores, training, pretraining, diagrams of
models; `style` has the colours of models and baselines. Import them from here. This room knows windows and
electrodes, and nothing of how what it draws was computed.
"""

from eeglab_models.plotting.diagrams import plot_architecture
from eeglab_models.plotting.features import (
    plot_grids,
    plot_projections,
    plot_similarities,
    plot_tones,
    plot_topographies,
    plot_variance_shares,
)
from eeglab_models.plotting.maps import (
    plot_attention,
    plot_channels_by_time,
    plot_head_maps,
    plot_truth_scores,
)
from eeglab_models.plotting.pretraining import (
    plot_codes,
    plot_courses,
    plot_gains,
    plot_masks,
    plot_neighbours,
)
from eeglab_models.plotting.recordings import (
    plot_band_power,
    plot_spectrum,
    plot_window,
)
from eeglab_models.plotting.scores import (
    plot_calibration,
    plot_confusion,
    plot_differences,
    plot_forest,
    plot_heatmap,
    plot_ratios,
    plot_run_scores,
    plot_scores,
)
from eeglab_models.plotting.style import MODEL_COLORS, color_of
from eeglab_models.plotting.training import (
    plot_history,
)

__all__ = [
    "MODEL_COLORS",
    "color_of",
    "plot_architecture",
    "plot_attention",
    "plot_band_power",
    "plot_calibration",
    "plot_channels_by_time",
    "plot_codes",
    "plot_confusion",
    "plot_courses",
    "plot_differences",
    "plot_forest",
    "plot_gains",
    "plot_grids",
    "plot_head_maps",
    "plot_heatmap",
    "plot_history",
    "plot_masks",
    "plot_neighbours",
    "plot_projections",
    "plot_ratios",
    "plot_run_scores",
    "plot_scores",
    "plot_similarities",
    "plot_spectrum",
    "plot_tones",
    "plot_topographies",
    "plot_truth_scores",
    "plot_variance_shares",
    "plot_window",
]
