"""EEG on its way to a model: recordings, simulated recordings, and what is done to them.

`recordings` makes windows of any source (`sources`) by one `plan`, whether it is `continuous` or cut into
`trials`; `preparation` brings them to a model, `windows` is what both speak of; `simulation` is a data set.
Import `load_windows`, `prepare` and `Windows` from the package.
This room imports `models` and nothing above it.
"""
