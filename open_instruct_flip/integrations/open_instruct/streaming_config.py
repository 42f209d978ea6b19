"""Open Instruct's data loader configuration with FLIP's flags. Imports Open Instruct."""

from __future__ import annotations

from dataclasses import dataclass

from open_instruct.data_loader import StreamingDataLoaderConfig

from open_instruct_flip.integrations.open_instruct.options import FlipFlags, FlipOptions


@dataclass
class FlipStreamingDataLoaderConfig(StreamingDataLoaderConfig, FlipFlags):
    """What Open Instruct's parser makes flags of, and hands to `build_all_verifiers`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        FlipOptions.from_flags(self)  # refuses impossible values before Ray starts
