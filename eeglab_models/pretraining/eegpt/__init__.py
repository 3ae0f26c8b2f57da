"""EEGPT's objective: alignment of hidden moments with a teacher, and their reconstruction.

`alignment` holds the mask, the losses and the slow average; `rotary` the two transformers that only
pretraining needs. Import `MaskedAlignment`, best from the room above. Both build on models, training and
`objective`, and on no other model's folder.
"""
