"""EEGPT's objective: alignment of hidden moments with a teacher, and their reconstruction."""
