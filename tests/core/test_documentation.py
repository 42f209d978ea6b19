"""The documentation: what it links to, and the commands, flags, files and imports that it names, exist."""

import ast
import importlib
import re
import shlex
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
from markdown_it import MarkdownIt

from open_instruct_flip.commands.main import flip
from open_instruct_flip.integrations.open_instruct.options import flags_help

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "datasets").rglob("README.md")),
]
OUR_FILE = re.compile(r"(benchmarks|datasets|docs|examples|open_instruct_flip|scripts|tests)/[\w./-]+")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
SHELL = {"bash", "sh"}
CHANGES = ROOT / "CHANGELOG.md"  # names what is gone, too

# Flags that the documentation names and other programs parse; all others are looked for in this project.
OTHERS = {
    "Open Instruct": "--advantage_normalization_type --dataset_mixer_list --dataset_mixer_list_splits --eval_pass_at_k "
    "--dataset_skip_cache --inflight_updates --llm_judge_max_context_length --llm_judge_max_tokens "
    "--llm_judge_temperature --llm_judge_timeout --non_stop_penalty --reward_aggregator --rho_clamp_upper_bound "
    "--use_rho_correction --verification_reward",
    "examples/trl_grpo_flip.py": "--judge_options",
    "TRL": "--bf16 --model_name_or_path --output_dir --use_cpu --use_peft --use_vllm --vllm_mode",
    "OpenRLHF": "--reward",
    "vLLM": "--data-parallel-address --data-parallel-rpc-port --data-parallel-size --data-parallel-size-local "
    "--data-parallel-start-rank --dtype --enforce-eager --gpu-memory-utilization --max-model-len "
    "--structured-outputs-config",
    "Ray": "--address --head",
    "pip, pipx, uv": "--no-deps --python --spec --wheel-dir",
}


@cache
def tokens(page):
    """The page's blocks, and within them the pieces of a line."""
    blocks = MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8"))
    return [piece for block in blocks for piece in [block, *(block.children or [])]]


def of_kind(page, kind):
    return [token for token in tokens(page) if token.type == kind]


def fences(page, languages):
    return [token.content for token in of_kind(page, "fence") if token.info in languages]


@cache
def anchors(page):
    """The names that GitHub, and the site, give the page's headings."""
    blocks, names, seen = tokens(page), [], Counter()
    for before, heading in pairwise(blocks):
        if before.type == "heading_open":
            text = "".join(piece.content for piece in heading.children)
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            names.append(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
    return names


def links(page):
    found = [token.attrs["href"] for token in of_kind(page, "link_open")]
    return found + [token.attrs["src"] for token in of_kind(page, "image")]


def is_broken(page, link):
    if re.match(r"[a-z]+:", link):
        return False
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    return not target.exists() or (anchor != "" and anchor not in anchors(target))


def simple_commands(script):
    """The commands of a shell script, each as its words, without comments and variables."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = []
        for word in [*lexer, ";"]:
            if re.fullmatch(r"[();<>|&]+", word):
                yield words
                words = []
            elif words or not re.match(r"\w+=", word):
                words.append(word)


def shown_commands(page):
    """The words of every command in the page's shell blocks and code spans."""
    spans = [token.content for token in of_kind(page, "code_inline") if re.match(r"(flip|make) ", token.content)]
    return [words for script in [*fences(page, SHELL), *spans] for words in simple_commands(script) if words]


@cache
def train_flags():
    return set(FLAG.findall(flags_help())) | set(OTHERS["Open Instruct"].split())


def options_of(command):
    return {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}


def unknown_words(words):
    """What `flip` would not know of these arguments: a command that is not there, or flags."""
    command, context = flip, click.Context(flip)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        name = words.pop(0)
        command = command.get_command(context, name) if name in command.list_commands(context) else None
        if command is None:
            return [name]
        context = click.Context(command, context, name)
    passes_on = command.context_settings.get("ignore_unknown_options", False)
    known = {*options_of(command), "--help", *(train_flags() if passes_on else ())}
    return [word for word in words if FLAG.fullmatch(flag := word.partition("=")[0]) and flag not in known]


@cache
def known_flags():
    def of(command, context):
        for name in command.list_commands(context) if isinstance(command, click.Group) else ():
            child = command.get_command(context, name)
            yield from of(child, click.Context(child, context, name))
        yield from options_of(command)

    files = [path for folder in ("scripts", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.*")]
    sources = [path.read_text("utf-8") for path in files if path.suffix in (".py", ".sh")]
    in_sources = {flag for text in sources for flag in FLAG.findall(text)}
    of_others = {flag for flags in OTHERS.values() for flag in flags.split()}
    return {*of(flip, click.Context(flip)), *train_flags(), *in_sources, *of_others, "--help", "--flip_"}


def each_of(pages):
    return pytest.mark.parametrize("page", pages, ids=lambda page: str(page.relative_to(ROOT)))


each_page = each_of(PAGES)


@each_of([*PAGES, CHANGES])
def test_links_lead_somewhere(page):
    assert [link for link in links(page) if is_broken(page, link)] == []


def test_every_page_is_on_the_site():
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert [page.name for page in PAGES if page.parent.name == "docs" and f": {page.name}" not in navigation] == []


@each_page
def test_commands_and_their_flags_exist(page):
    shown = [(" ".join(words), words) for words in shown_commands(page)]
    ours = [(line, words[1:]) for line, words in shown if words[0].rpartition("/")[2] == "flip"]
    as_module = "python -m open_instruct_flip "
    ours += [(line, words[3:]) for line, words in shown if line.startswith(as_module)]
    assert [(line, unknown) for line, words in ours if (unknown := unknown_words(words))] == []


@each_page
def test_flags_exist(page):
    code = [token.content for kind in ("code_inline", "fence") for token in of_kind(page, kind)]
    assert {flag for text in code for flag in FLAG.findall(text)} - known_flags() == set()


@each_page
def test_targets_of_make_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {words[1] for words in shown_commands(page) if words[0] == "make"} - targets == set()


@each_page
def test_files_exist(page):
    spans = [token.content for token in of_kind(page, "code_inline") if OUR_FILE.fullmatch(token.content)]
    assert [path for path in spans if not (ROOT / path).exists()] == []


@each_page
def test_imports_of_examples_exist(page):
    imports = [node for code in fences(page, {"python"}) for node in ast.walk(ast.parse(code))]
    ours = [
        node for node in imports if isinstance(node, ast.ImportFrom) and node.module.startswith("open_instruct_flip")
    ]
    names = [(node.module, alias.name) for node in ours for alias in node.names]
    assert [name for name in names if not hasattr(importlib.import_module(name[0]), name[1])] == []
