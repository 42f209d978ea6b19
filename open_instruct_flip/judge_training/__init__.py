"""A judge of one's own: a small model trained backward, from responses to their instructions."""
