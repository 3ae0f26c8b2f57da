"""EEG-DINO's objective: self-distillation between views of a window, whole and in patches."""
