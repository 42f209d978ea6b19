"""Command-line options made from the configuration dataclasses, so that an option is written once."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.errors import UsageError


def config_options(**configs: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a click command every field of some dataclasses as `--field`, and the built objects as arguments.

    Example:
        >>> from open_instruct_flip.client.config import ClientConfig
        >>> @click.command()
        ... @config_options(client=ClientConfig)
        ... def show(client):
        ...     click.echo(client.max_attempts)
        >>> show(["--max_attempts", "2"], standalone_mode=False)
        2
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(**values: Any) -> Any:
            for argument, config in configs.items():
                names = [f.name for f in dataclasses.fields(config)]
                values[argument] = config(**{name: values.pop(name) for name in names})
            return command(**values)

        for config in reversed(configs.values()):
            hints = get_type_hints(config)
            for option in reversed(dataclasses.fields(config)):
                run = _option(option, hints[option.name])(run)
        return run

    return decorate


def with_judge_models(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command the options of `ClientConfig`, and one of them per judge model as the argument `clients`.

    `--llm_judge_model` may be repeated, and so may `--api_base`: one for all models, or one for each in their order.
    """
    hints = get_type_hints(ClientConfig)
    repeated = ("llm_judge_model", "api_base")

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        models, urls = (values.pop(name) for name in repeated)
        shared = {f.name: values.pop(f.name) for f in dataclasses.fields(ClientConfig) if f.name not in repeated}
        if len(urls) not in (0, 1, len(models)):
            raise UsageError(
                f"--api_base is given {len(urls)} times for {len(models)} models; give it once, or once for each "
                "--llm_judge_model"
            )
        of_each = urls if len(urls) > 1 else [*urls, None][:1] * len(models)
        clients = [ClientConfig(model, url, **shared) for model, url in zip(models, of_each, strict=True)]
        return command(**values, clients=clients)

    for option in reversed(dataclasses.fields(ClientConfig)):
        if option.name in repeated:
            text = f"{option.metadata['help']}; may be repeated"
            needed = option.name == repeated[0]
            run = click.option(f"--{option.name}", option.name, multiple=True, required=needed, help=text)(run)
        else:
            run = _option(option, hints[option.name])(run)
    return run


def with_judge_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command every option of every judge, and those that were given as the argument `judge_options`.

    Which of them the chosen judge has is the judge's to say: see `Judge.from_options`.
    """
    from open_instruct_flip.judges import registry

    options = registry.judge_options()

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        given = {option.name: values.pop(option.name) for option in options}
        return command(**values, judge_options={name: v for name, v in given.items() if v is not None})

    for option in reversed(options):
        run = _flag(option.name, option.hint, default=None, help=option.help)(run)
    return run


def _option(option: dataclasses.Field[Any], hint: Any) -> Callable[[Any], Any]:
    if option.default is dataclasses.MISSING:
        return _flag(option.name, hint, required=True, help=option.metadata["help"])
    shown = option.default not in (None, "")
    return _flag(option.name, hint, default=option.default, help=option.metadata["help"], show_default=shown)


def _flag(name: str, hint: Any, **settings: Any) -> Callable[[Any], Any]:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    flag = f"--{name}"
    if hint is bool:
        flag, kind = f"{flag}/--no_{name}", None
    elif get_origin(hint) is Literal:
        kind = click.Choice(get_args(hint))
    else:
        kind = hint
    return click.option(flag, name, type=kind, **settings)
