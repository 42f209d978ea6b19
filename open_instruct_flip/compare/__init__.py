"""Run histories, and their comparison."""
