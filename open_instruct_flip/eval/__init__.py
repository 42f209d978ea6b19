"""`flip eval`: is this judge any good?"""
