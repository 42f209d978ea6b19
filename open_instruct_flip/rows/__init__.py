"""Rows of chat data, read in one way for every command: what formats there are, and what shapes rows come in."""
