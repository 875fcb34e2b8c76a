"""The files that settings name, read alike: what cannot be read is an error of the same kind as what cannot be used."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from agents.settings import Settings, SettingsError
from collector.keys import Key, Keys, KeysError, add_key, load_keys
from collector.plan import PlanError, Plans, load_plans
from streams.sites import Sites, SitesError, load_sites

T = TypeVar("T")

UNUSABLE: Final = (SettingsError, SitesError, KeysError, PlanError)
"""What a person wrote and can put right; the text says how."""


def why(error: OSError | UnicodeError) -> str:
    """Why a file cannot be read or written, without Python's words for it."""
    if isinstance(error, UnicodeDecodeError):
        return f"This is no UTF-8 (byte {error.start})."
    return f"{error.strerror}." if isinstance(error, OSError) and error.strerror else str(error)


def read(path: str, load: Callable[[str, str], T], error: type[ValueError]) -> T:
    """What `load` makes of a file's text and name; raises what it raises, and `error` for a file that cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as unread:
        raise error(f"{path}: {why(unread)}") from unread
    return load(text, path)


def read_sites(settings: Settings) -> Sites:
    """The sites file, or defaults for every site; raises SitesError."""
    return Sites() if settings.sites is None else read(settings.sites, load_sites, SitesError)


def read_keys(settings: Settings, made: Keys | None = None) -> Keys:
    """The keys file as it is now; without one, what was made for trying. Raises KeysError."""
    if settings.collector_keys is not None:
        return read(settings.collector_keys, load_keys, KeysError)
    if made is None:
        raise KeysError("ENGAGE_COLLECTOR_KEYS names the file of the keys that may send; `engage keys create --site SITE --file keys.yml` makes one.")
    return made


def read_plans(settings: Settings) -> Plans | None:
    """The tracking plans, if there are any; raises PlanError."""
    return None if settings.collector_plan is None else read(settings.collector_plan, load_plans, PlanError)


def write_key(key: Key, file: Path) -> None:
    """Add a key to a keys file, which is made where there is none; raises KeysError."""

    def grown(text: str, name: str) -> str:
        return add_key(text, key, name)

    content = read(str(file), grown, KeysError) if file.exists() else grown("", str(file))
    try:
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise KeysError(f"{file}: {why(error)}") from error
