"""What holds for every test: where Ctrl-C is heard, and which modules are searched for examples."""

import signal
from importlib.util import find_spec

NEEDING_OPEN_INSTRUCT = ("mixer", "policy", "preflight", "reward_function", "streaming_config", "verifier")

if find_spec("open_instruct") is None:
    collect_ignore = [f"open_instruct_flip/integrations/open_instruct/{name}.py" for name in NEEDING_OPEN_INSTRUCT]

# A shell starts background jobs deaf to Ctrl-C, and every process they start inherits that: tests that press it would
# fail under `make test &` alone.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
