"""The trainer's start: names taken from their modules, flags parsed, verifiers and reward function built."""

import pickle
from dataclasses import dataclass

from open_instruct import data_loader as data_loader_lib
from open_instruct.dataset_transformation import TokenizerConfig
from open_instruct.ground_truth_utils import RewardConfig, build_all_verifiers
from open_instruct.model_utils import ModelConfig
from open_instruct.utils import ArgumentParserPlus


@dataclass
class GRPOExperimentConfig:
    seed: int = 1
    fail_with: str | None = None


if __name__ == "__main__":
    kinds = (GRPOExperimentConfig, TokenizerConfig, ModelConfig, data_loader_lib.StreamingDataLoaderConfig)
    parser = ArgumentParserPlus(kinds)
    args, _, _, streaming_config = parser.parse_args_into_dataclasses()
    verifiers = build_all_verifiers(args, streaming_config)
    config = RewardConfig(verification_reward=streaming_config.verification_reward, verifier_functions=verifiers)
    pickle.loads(pickle.dumps(config)).build()
    if args.fail_with:
        from open_instruct_flip.errors import FlipError

        raise RuntimeError("the task of an actor failed") from FlipError(args.fail_with)
    print("TRAINED", type(config).__name__, sorted(verifiers))
    options = verifiers["general-flip"].options.training
    print(f"policy_opens_thinking={options.policy_opens_thinking} judge_proven={options.judge_proven}")
