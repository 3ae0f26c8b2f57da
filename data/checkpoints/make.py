"""Train the checkpoint that notebooks load: ``python data/checkpoints/make.py``, about a minute on two cores.

FBLightConvNet learns left from right hand from the first session of one simulated subject. Its accuracy on
the second session, which it never saw, goes into the model card.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from skorch import NeuralNetClassifier

from eeglab_models import FBLightConvNet, load_windows, prepare
from eeglab_models.models.report import fingerprint
from eeglab_models.signals.simulation import SimulatedMotorImagery

SUBJECT, SEED, N_EPOCHS = 2, 0, 60
CLASSES = ["left_hand", "right_hand"]
FOLDER = Path(__file__).parent / "fblightconvnet-simulated"
CARD = """---
library_name: eeglab_models
license: bsd-3-clause
tags: [eeg, motor-imagery, simulated]
---

# FBLightConvNet, trained on simulated motor imagery

A small model for notebooks and tests, not for people: its training data are simulated.

| | |
|---|---|
| classes | {classes}, in this order |
| trained on | `SimulatedMotorImagery`, subject {subject}, session 0: {n_train} windows of 4 s |
| input | 22 channels, 250 Hz, microvolts |
| held out | session 1: {n_test} windows, accuracy {accuracy:.3f} |
| training | Adam, learning rate 2e-3, batches of 32, {n_epochs} epochs; final cross-entropy {loss:.3f} |
| seed | {seed} |
| command | `python data/checkpoints/make.py` |
| fingerprint of the encoder | `{fingerprint}` |
| licence | BSD-3-Clause |
"""


def main() -> None:
    """Train, score and save."""
    torch.manual_seed(SEED)
    windows = load_windows(SimulatedMotorImagery(subjects=[SUBJECT]), events=CLASSES, fmin=None, fmax=None)
    torch.manual_seed(SEED)
    model = FBLightConvNet(n_outputs=2, n_filters_spat=32, **windows.signal_for(FBLightConvNet))
    prepared = prepare(windows, model)
    labels = (prepared.labels == CLASSES[1]).astype("int64")
    first = (prepared.metadata["session"].str.startswith("0")).to_numpy()
    net = NeuralNetClassifier(
        model,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=2e-3,
        batch_size=32,
        max_epochs=N_EPOCHS,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    net.fit(prepared.data[first], labels[first])
    accuracy = net.score(prepared.data[~first], labels[~first])
    trained = net.module_.eval()
    trained.save_pretrained(FOLDER)
    card = CARD.format(
        classes=", ".join(CLASSES),
        subject=SUBJECT,
        n_train=first.sum(),
        n_test=(~first).sum(),
        accuracy=accuracy,
        loss=net.history[-1, "train_loss"],
        n_epochs=N_EPOCHS,
        seed=SEED,
        fingerprint=fingerprint(trained),
    )
    (FOLDER / "README.md").write_text(card, encoding="utf-8")
    size = sum(value.nbytes for value in load_file(FOLDER / "model.safetensors").values())
    print(f"{FOLDER}: {size / 1000:.0f} kB, held-out accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
