"""EEG-DINO's objective: a student says of parts of a window what its teacher says of the whole.

`self_distillation` holds the losses and the teacher; `views` draws and cuts the parts; `assignments` has
the heads, the centre and what to watch. Import `SelfDistillation`, best from the room above. They build on
models, training and `objective`, and on no other model's folder.
"""
