"""A small double of Open Instruct's interface, written by hand: only what the plugin touches, and how it behaves.

`tests/open_instruct` holds the same facts against a real checkout.
"""
