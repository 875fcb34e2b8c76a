"""`engage sentiment`: what is made of a text and why; labels from people; the curve of `p_negative` fitted to them."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

import msgspec

from agents.files import read
from streams.sentiment import Sentiment, cap, understand
from streams.sites import Site
from streams.texts.calibration import Calibration, Label, calibration, fit
from streams.texts.language import Language
from streams.texts.overlay import MOST_REASONS, Curve
from streams.texts.patterns import LIST

TEXT_FIELDS: Final = ("text", "comment")


class Explained(NamedTuple):
    """What is made of a text."""

    normal: str
    judged: Sentiment
    matches: list[tuple[str, str, str]]
    """Category, its role, the words found."""


def explain(text: str, site: Site, language: str | None = None, *, review: bool = False) -> Explained:
    """Judge a text as an event of the site would be judged, and say why."""
    overlay = site.overlay
    normal = overlay.normalise(cap(text)[0])
    judged = understand(text, language, overlay, in_sentences=review)
    matches = overlay.matches(normal) if judged.p_negative is not None else []
    return Explained(normal, judged, [(match.category, LIST.roles[match.category], words) for match, words in matches])


def as_json(explained: Explained) -> dict[str, Any]:
    judged = explained.judged
    return {
        "compound": judged.compound / 10_000, "normal": explained.normal, "language": str(judged.language),
        "matches": [dict(zip(("category", "role", "words"), match, strict=True)) for match in explained.matches],
        "score": None if judged.p_negative is None else judged.score / 10_000, "label": str(judged.label), "source": judged.source,
        "p_negative": judged.p_negative, "reasons": reasons_of(explained), "patterns_version": LIST.version,
    }  # fmt: skip


def reasons_of(explained: Explained) -> list[dict[str, Any]]:
    """The categories that weigh most, with the words found."""
    found = explained.judged.reasons[:MOST_REASONS]
    return [{"category": name, "words": [words for category, _, words in explained.matches if category == name]} for name in found]


def as_text(explained: Explained) -> str:
    """The same for people."""
    judged = explained.judged
    language = {Language.ENGLISH: "en", Language.UNSUPPORTED: "xx (not scored)", Language.UNDETERMINED: "und (no evidence; scored, less sure)"}[judged.language]
    lines = [
        f"compound    {judged.compound / 10_000:+.4f}   VADER, of the text as written",
        f"normal form {explained.normal}",
        f"language    {language}",
    ]
    if judged.p_negative is None:
        return "\n".join([*lines, f"label       {judged.label} ({judged.source})"])
    for category, role, words in explained.matches:
        lines.append(f"matched     {category:<10} {role:<8}  “{words}”")
    if not explained.matches:
        lines.append("matched     no pattern")
    why = "; ".join(f"{reason['category']} – {', '.join(f'“{words}”' for words in reason['words'])}" for reason in reasons_of(explained))
    lines += [
        f"score       {judged.score / 10_000:+.2f}     p_negative {judged.p_negative:.2f}   (patterns version {LIST.version})",
        f"label       {judged.label} ({judged.source}){': ' + why if why else ''}",
    ]
    return "\n".join(lines)


# --- labels ----------------------------------------------------------------------------------------------------------


class Labelled(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One line of a file of labels."""

    text: str
    negative: bool
    review: bool = False


class LabelsError(ValueError):
    """A file of texts or labels cannot be used; the text names the line and what to do."""


def read_texts(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Texts and whether they are reviews: of events (JSON objects with `text` or `comment`), else the lines themselves."""
    for line in lines:
        text, review = line.strip(), False
        if text.startswith("{"):
            try:
                event = json.loads(text)
            except ValueError:
                event = {}
            if isinstance(event, dict):
                text = next((event[name] for name in TEXT_FIELDS if isinstance(event.get(name), str)), "")
                review = event.get("type") == "review_posted" or event.get("review") is True
        if text.strip():
            yield text, review


def read_labels(path: Path) -> list[Labelled]:
    """The labels of a file; raises LabelsError with the line."""
    return read(str(path), _load_labels, LabelsError)


def _load_labels(text: str, name: str) -> list[Labelled]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(msgspec.json.decode(line, type=Labelled))
            except msgspec.MsgspecError as error:
                raise LabelsError(f'{name}: line {number}: {error}; a line is {{"text": "…", "negative": true}}') from error
    return found


def label_texts(texts: Iterable[tuple[str, bool]], path: Path, site: Site, ask: Callable[[str], str], say: Callable[[str], None]) -> int:
    """Show texts one by one and append what is answered to a file; those it has already are not shown. Returns how many labels it has then."""
    known = {labelled.text for labelled in read_labels(path)} if path.exists() else set[str]()
    with path.open("a", encoding="utf-8") as file:
        for text, review in texts:
            if text in known:
                continue
            explained = explain(text, site, review=review)
            if explained.judged.p_negative is None:
                continue  # not scored
            say(f"\n{text}\n")
            answer = ask("Is it a complaint? [y]es, [n]o, [s]kip, [q]uit")
            if answer == "q":
                break
            if answer == "s":
                continue
            known.add(text)
            _append(file, Labelled(text, answer == "y", review))
    return len(known)


def _append(file: TextIO, labelled: Labelled) -> None:
    file.write(msgspec.json.encode(labelled).decode() + "\n")
    file.flush()


class Refit(NamedTuple):
    """The curve that fits the labels, and how well the one before and it fit."""

    labels: int
    curve: Curve
    before: Calibration
    after: Calibration


def refit(labelled: Iterable[Labelled], site: Site) -> Refit:
    """Fit the curve of `p_negative` to labels; raises CalibrationError."""
    found = []
    for one in labelled:
        judged = understand(one.text, None, site.overlay, in_sentences=one.review)
        if judged.p_negative is not None:
            found.append(Label(judged.score / 10_000, one.negative))
    curve = fit(found)
    return Refit(len(found), curve, calibration(found, site.sentiment.p_negative), calibration(found, curve))


def refit_json(fitted: Refit) -> dict[str, Any]:
    return {"labels": fitted.labels, "curve": msgspec.to_builtins(fitted.curve)} | {
        name: {"error": told.error, "bands": [band._asdict() for band in told.bands]} for name, told in (("before", fitted.before), ("after", fitted.after))
    }


def refit_text(site: str, fitted: Refit) -> str:
    """The lines for the sites file, and what they change."""
    lines = [f"{fitted.labels} labels; mean calibration error {fitted.before.error:.3f} before, {fitted.after.error:.3f} after", ""]
    for name, fit_ in (("before", fitted.before), ("after", fitted.after)):
        lines.append(f"{name:<7} p_negative   complaints       n")
        lines += [f"{'':<7} {band.told:>10.2f} {band.found:>12.2f} {band.n:>7}" for band in fit_.bands]
    place, indent = (["default:"], "  ") if site == "default" else (["sites:", f"  {site}:"], "    ")
    lines += ["", "For the sites file:", "", *place, f"{indent}sentiment:"]
    lines += [f"{indent}  p_negative: {{slope: {fitted.curve.slope:g}, intercept: {fitted.curve.intercept:g}}}"]
    return "\n".join(lines)
