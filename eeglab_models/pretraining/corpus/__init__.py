"""Recordings on disk for pretraining: found, cut, written in shards, and read again."""
