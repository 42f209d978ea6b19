"""A server that gives rewards to trainers over HTTP, with any judge."""
