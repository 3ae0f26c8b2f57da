"""Many runs of one notebook: a grid is read, run on dask so that nothing is lost, and read again as a table.

`grid` says which runs, `study` what one varies in them, `runs` does one, `cluster` where, `warm` starts
kernels at once, `sweep` does all, `rescoring` keeps predictions and scores them, `results` tabulates and
tests, `exporting` writes tables and figures, `terminal` prints. Lessons import `read_grid`, `sweep`,
`write_row` and what `results` promises, from these modules. This room may use all rooms that score models,
but not the workshop.
"""
