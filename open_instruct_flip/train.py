"""`python -m open_instruct_flip.train ARGS`: Open Instruct's `grpo_fast` with FLIP registered."""

from __future__ import annotations

import sys

from open_instruct_flip.integrations.open_instruct.launcher import main

if __name__ == "__main__":
    sys.exit(main())
