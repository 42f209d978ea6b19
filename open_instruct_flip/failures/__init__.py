"""What a failed judgement becomes: one rule for everyone who hands out rewards."""
