"""Pretrains in a process of its own, which tests may kill or start twice: FOLDER, as JSON what to train.

Without a rank in its environment it is a single process; with one it trains together with others.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
from pretraining_stubs import BUILDERS
from safetensors.torch import save_file

from eeglab_models.training.pretraining import pretrain
from eeglab_models.training.settings import Settings

if __name__ == "__main__":
    folder, request = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    # Gives a test time to kill in the middle.
    pause = request.get("pause", 0.0)
    for name, arguments in request["objectives"].items():
        objective, windows = BUILDERS[name](**arguments)
        settings = Settings(**request["settings"])
        own = folder / name
        pretrain(objective, windows, settings, own, progress=False, on_step=lambda row: time.sleep(pause))
        state = {key: value.clone() for key, value in objective.state_dict().items()}
        save_file(state, own / f"final-{os.environ.get('RANK', 0)}.safetensors")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
