"""What the pages of several commands share: their look, their figures, the way a template is filled."""
