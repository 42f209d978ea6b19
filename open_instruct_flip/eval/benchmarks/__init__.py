"""Benchmarks of judges, one file each."""
