"""YAML without what misleads: no keys given twice (the last would win silently), no aliases (they multiply) unless the loader takes them, bounded in size."""

from typing import Any, Final

import yaml

MAX_CHARACTERS: Final = 1 << 20


class UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping with a key given twice."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.YAMLError(f"{key.value!r} is given twice, the second time in line {key.start_mark.line + 1}")
                seen.add(key.value)
        return node


class _Loader(UniqueKeys):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


def load(text: str, loader: type[UniqueKeys] = _Loader) -> Any:
    """The content of a file; raises ValueError with one line that says what is wrong."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"a file has at most {MAX_CHARACTERS} characters")
    try:
        return yaml.load(text, loader)  # a SafeLoader: nothing is executed
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not readable as YAML: {' '.join(str(error).split())}") from None
