"""What every command shares that judges many groups: order, progress, lines of JSON, what verdicts depend on."""
