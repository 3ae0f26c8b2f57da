"""The four models, the blocks without parameters that they share, and what every model can do."""
