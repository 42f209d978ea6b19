"""ESFP: an explanation, a slot in a template, and a trained masked language model that fills it."""
