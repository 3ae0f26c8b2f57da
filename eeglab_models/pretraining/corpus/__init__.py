"""Recordings on disk for pretraining: found, cut, written in shards, and read again.

`building` prepares recordings, `shards` are the files, `reading` gives windows back
by their numbers, and `data` is what a configuration says about all that. Import `build_corpus`, `RECIPES`
and `Corpus`, best from the room above. This folder builds on signals and on models' contracts, not on
objectives.
"""
