import argparse
import dataclasses
import typing

TYPES = {int: int, float: float, bool: lambda text: text.lower() == "true"}


class ArgumentParserPlus(argparse.ArgumentParser):
    """One flag per dataclass field, as transformers' parser makes them."""

    def __init__(self, dataclass_types, **options):
        super().__init__(**options)
        self.dataclass_types = dataclass_types
        for kind in dataclass_types:
            hints = typing.get_type_hints(kind)
            for field in dataclasses.fields(kind):
                default = field.default_factory() if field.default is dataclasses.MISSING else field.default
                nargs = "+" if isinstance(default, list) else None
                hint = next((kind for kind in typing.get_args(hints[field.name]) if kind in TYPES), hints[field.name])
                as_type = TYPES.get(hint, str)
                help_text = field.metadata.get("help", "").replace("%", "%%")
                self.add_argument(f"--{field.name}", default=default, nargs=nargs, type=as_type, help=help_text)

    def parse_args_into_dataclasses(self, args=None, return_remaining_strings=False, look_for_args_file=True):
        values, rest = self.parse_known_args(args)
        made = []
        for kind in self.dataclass_types:
            made.append(kind(**{f.name: getattr(values, f.name) for f in dataclasses.fields(kind)}))
        if return_remaining_strings:
            return (*made, rest)
        if rest:
            raise ValueError(f"Some specified arguments are not used: {rest}")
        return tuple(made)
