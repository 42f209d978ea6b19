def extract_quality(text):
    return text, 0.7


JUDGE_PROMPT_MAP = {"quality": "Rate {output} for {input}"}
EXTRACTOR_MAP = {"quality": extract_quality}
