"""Training of the esfp judge's masked language model: pairs, their explanations, the trainer, the folder it writes."""
