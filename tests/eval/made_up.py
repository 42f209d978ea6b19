"""Judgement rows for tests."""

import json


def judged(item, judge, scores, *, right=(True, False), attack=None, run=0, subset="easy", **more):
    """The rows of one judge's judgements of an item; a score that is a text stands for the error of that name."""
    return [
        {
            "benchmark": "pairs",
            "subset": subset,
            "item": item,
            "judge": judge,
            "model": "m",
            "run": run,
            "attack": attack,
            "response_index": index,
            "right": right[index],
            "conversation": [{"role": "user", "content": f"instruction of {item}"}],
            "response": f"response {index} to {item}",
            "score": None if isinstance(score, str) else score,
            "error": score if isinstance(score, str) else None,
            "detail": None,
            "reply": None,
            "inferred_instruction": None,
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "requests": 1,
            "latency_s": 0.5,
        }
        | more
        for index, score in enumerate(scores)
    ]


def write_folder(folder, rows):
    """A result folder with these judgements."""
    folder.mkdir(exist_ok=True)
    (folder / "judgements.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder
