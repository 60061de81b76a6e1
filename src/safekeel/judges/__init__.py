"""Judges read completions and give one verdict per part; each file is one judge."""
