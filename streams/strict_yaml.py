"""YAML without what misleads: no aliases (they multiply), no keys given twice (the last would win silently), bounded in size."""

from typing import Any, Final

import yaml

MAX_CHARACTERS: Final = 1 << 20


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.MarkedYAMLError(problem=f"{min(twice)!r} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:
    """The content of a file; raises ValueError with one line that says what is wrong."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"a file has at most {MAX_CHARACTERS} characters")
    try:
        return yaml.load(text, _Loader)  # a SafeLoader: nothing is executed
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not readable as YAML: {' '.join(str(error).split())}") from None
