"""A judge as a reward function for TRL's trainers.

`GRPOTrainer(..., reward_funcs=[flip_reward(judge, processing_class=tokenizer)], processing_class=tokenizer)`
"""

from open_instruct_flip.integrations.trl.reward import JudgeReward, flip_reward

__all__ = ["JudgeReward", "flip_reward"]
