"""Modules that only a process with Open Instruct can import are not searched for examples where it is not installed."""

from importlib.util import find_spec

NEEDING_OPEN_INSTRUCT = ("mixer", "policy", "preflight", "reward_function", "streaming_config", "verifier")

if find_spec("open_instruct") is None:
    collect_ignore = [f"open_instruct_flip/integrations/open_instruct/{name}.py" for name in NEEDING_OPEN_INSTRUCT]
