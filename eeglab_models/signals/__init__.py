"""EEG on its way to a model: recordings, simulated recordings, and what each model expects."""
