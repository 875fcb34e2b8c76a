"""What people write: sentences put together from parts, by tone and by cause. Tens of thousands of different ones."""

from collections.abc import Mapping
from random import Random
from typing import Final, NamedTuple

POSITIVE, NEUTRAL, NEGATIVE, MIXED = "positive", "neutral", "negative", "mixed"
CAUSES: Final = ("delivery", "payment", "quality", "service", "price", "website")
"""What people complain about, and praise."""


class Thing(NamedTuple):
    """What a text is about: a product or a plan, as people call it, and its parts."""

    title: str
    parts: tuple[str, ...]


_SLOTS: Final[Mapping[str, tuple[str, ...]]] = {
    "days": ("three days", "four days", "five days", "six days", "a week", "eight days", "ten days", "almost two weeks", "two weeks", "three weeks"),
    "when": ("on Monday", "on Tuesday", "on Thursday", "last Friday", "last week", "two weeks ago", "yesterday", "at the weekend", "this morning"),
    "times": ("twice", "three times", "four times", "again and again", "for the second time", "for the third time", "five times in a row"),
    "device": ("my phone", "my laptop", "the tablet", "Safari", "Firefox", "Chrome", "an older iPhone", "the desktop"),
    "amount": ("20 euros", "35 euros", "12 euros", "9 euros", "a fifth", "ten percent", "15 percent", "a third"),
    "person": ("the agent", "the man on the phone", "the woman in the chat", "someone called Tim", "your colleague", "the third person I spoke to"),
    "who": ("my sister", "my partner", "a friend", "my dad", "a colleague", "my neighbour", "our team", "the whole family"),
    "use": ("every day", "on my way to work", "at the weekend", "on holiday", "since spring", "for two months", "in all weathers", "for work"),
    "wait": ("twenty minutes", "half an hour", "forty minutes", "two hours", "the whole morning", "two days", "four days", "a week"),
}

_NEGATIVE: Final[Mapping[str, tuple[str, ...]]] = {
    "delivery": (
        "My parcel is {days} late and nobody can tell me where it is, this is awful",
        "The {it} never arrived and the tracking is a bad joke, I am really disappointed",
        "Delivery failed {times}, the carrier is terrible",
        "Ordered {when}, still no parcel, very annoying",
        "The box came crushed and the {it} inside was damaged",
        "The tracking has not moved for {days} and I am getting angry",
        "They lost my {it} on the way and blame the carrier, unacceptable",
        "Wrong item in the parcel: I ordered the {it}, what a mess",
        "Waited {days} for the {it}, that is awful when the site says next day",
        "Delivery to the wrong address {times} now, I am so frustrated",
    ),
    "payment": (
        "The payment failed {times} and I was charged all the same, very angry",
        "My card was declined {times} for no reason, this checkout is horrible",
        "Charged {times} for one {it}, and the refund is still missing, terrible",
        "I paid {when}, got an error, and now there is no order, what a disaster",
        "Still no refund after {days}, this feels like fraud",
        "The payment page shows an error on {device}, I gave up in frustration",
        "You took {amount} too much from my account, that is a bad mistake",
        "The invoice is wrong {times} and nobody corrects it, annoying",
        "The bank says it is fine, you say declined, useless payment system",
    ),
    "quality": (
        "The {part} of the {it} broke after {days}, very disappointed",
        "Poor quality: the {part} failed {times}",
        "Terrible {part}, I only used the {it} {use}",
        "The {it} came with a damaged {part}, that is a shame",
        "The {part} is awful and the rest of the {it} is not much better",
        "The {it} is useless, the {part} stopped working {when}",
        "Cheap materials, a bad {part}, and the {it} looks worn after {days}",
        "I hate the new {part}, the old {it} was never this bad",
        "The {part} has a fault {times} now, I am fed up with the {it}",
    ),
    "service": (
        "Nobody answers for {wait}, your service is terrible",
        "{Person} was rude and hung up on me, unacceptable",
        "I asked about the {it} {times} and was ignored, horrible service",
        "Waited {wait} in the queue only to be told nonsense by {person}, awful",
        "{Person} lied to me about the {it}, I am very upset",
        "The chat bot is useless and no human reads my mails, so frustrating",
        "The worst service ever, {wait} gone and the problem with the {it} is still there",
        "Returned the {it} {when} and not one word since, very bad",
        "Asked for an exchange {times}, got excuses, I feel cheated",
    ),
    "price": (
        "The {it} is overpriced, and raising it by {amount} is greedy and ridiculous",
        "{amount} more than {when}, for the same {it}, what a terrible deal",
        "Hidden fees at the end, {amount} on top, that is dishonest",
        "Paid full price for the {it} {when}, now it is {amount} cheaper, I feel cheated",
        "A bad deal: {amount} for shipping a single {part} is a shame",
        "The discount code was refused {times}, an annoying trick",
        "The {it} costs {amount} more than elsewhere and the {part} is worse",
    ),
    "website": (
        "The website crashed {times} while I was looking at the {it}, so annoying",
        "The site is painfully slow on {device}, horrible to use",
        "Search is broken, I cannot find the {it} any more, very frustrating",
        "Login failed {times} on {device}, I hate this page",
        "The size chart is missing and the {it} page shows an error, bad work",
        "The basket was empty {times} after I logged in, this site is a mess",
        "The new page on {device} is terrible, buttons do nothing",
        "The cookie banner blocks everything on {device}, what a stupid problem",
    ),
}
_POSITIVE: Final[Mapping[str, tuple[str, ...]]] = {
    "delivery": (
        "Super fast delivery, the {it} was here before I expected it, great",
        "Ordered {when}, here already, excellent",
        "The {it} came well packed and the driver was friendly, very happy",
        "Delivery to {who} worked perfectly",
    ),
    "payment": (
        "Paying on {device} took ten seconds, nice and easy",
        "My refund was there after a day, great and honest",
        "Finally a checkout that is easy, love it",
    ),
    "quality": (
        "The {part} of the {it} is excellent, I love it",
        "I use the {it} {use} and it is still as good as new, very happy",
        "Best {it} I have had so far, the {part} is perfect",
        "I was sceptical, but the {it} is really great, and so is the {part}",
        "Bought the {it} for {who}, who loves the {part}",
        "Beautiful {part}, strong and comfortable {use}",
        "Honestly impressed by the {it}, the {part} is amazing",
        "{Who} wanted one too after seeing my {it}, it is fantastic",
        "The {it} does exactly what it promises, wonderful {part}",
    ),
    "service": (
        "{Person} was so friendly and solved it at once, thank you",
        "Great service: a kind answer about the {it} within {wait}",
        "I had a question about the {part} and {person} was really helpful",
        "They exchanged the {it} at once, brilliant service",
    ),
    "price": (
        "The {it} is great value, {amount} less than elsewhere",
        "A fair price for such a good {part}, recommended",
        "Got the {it} with {amount} off, very pleased",
    ),
    "website": (
        "Easy to find the right {it} on {device}, a lovely site",
        "The advice on the {it} page helped {who} choose, great",
        "Ordering on {device} is quick and pleasant, nice work",
    ),
}
_NEUTRAL: Final = (
    "Is the {it} available again",
    "Does anyone know how the {part} of the {it} compares with last year's",
    "Bought the {it} {when}, will report",
    "Looking at the {it} for {who}",
    "The {it} comes in three versions this year",
    "How long does the {part} of the {it} last when used {use}",
    "Changed from the older one to the {it} {when}",
    "Where do I find the manual for the {part} of the {it}",
    "Saw the {it} in the window {when}",
    "{Who} has the {it}, I have not decided yet",
    "Reading about the {part} of the {it} on {device}",
    "The {it} was shown {when}, the {part} is new",
)
_MIXED: Final = (
    "The {part} is good, but the {it} came {days} late",
    "Nice {it}, poor {part}",
    "I like the {it}, only {amount} more than it should cost is annoying",
    "The {it} is fine {use}, the {part} could be better",
    "Okay for the money, the {part} is a bit disappointing, the rest is good",
)
_TICKETS: Final[Mapping[str, tuple[str, ...]]] = {
    "delivery": ("Where is my {it}? Ordered {when}", "Can the {it} be sent to {who} instead", "The tracking number does not show anything since {when}"),
    "payment": ("I need an invoice for the {it}", "Which account does the refund for the {it} go to", "Can I change the card on {device}"),
    "quality": ("How do I adjust the {part} of the {it}", "Is there a spare {part} for the {it}", "Does the {part} need anything {use}"),
    "service": ("When are you open at the weekend", "May I exchange the {it} for {who}", "How do I return the {it} bought {when}"),
    "price": ("Is the {it} part of the sale", "Does the code from the newsletter count for the {it}"),
    "website": ("I cannot see my order on {device}", "How do I change my address on {device}", "Where do I cancel the newsletter"),
}
_OPENERS: Final[Mapping[str, tuple[str, ...]]] = {
    POSITIVE: (
        "",
        "",
        "",
        "",
        "Wow! ",
        "Update: ",
        "Just wanted to say: ",
        "Five stars. ",
        "So … ",
        "Once more: ",
        "As {who} said: ",
        "After using it {use}: ",
    ),
    NEUTRAL: ("", "", "", "", "Hi! ", "Hello. ", "Question: ", "By the way: ", "Quick one: ", "For {who}: "),
    NEGATIVE: ("", "", "", "", "Seriously? ", "Update: ", "Be warned: ", "Sigh. ", "Unbelievable. ", "So … ", "Once more: ", "To whom it concerns: "),
    MIXED: ("", "", "", "Update: ", "After using it {use}: ", "So … ", "Three stars. "),
}
_CLOSERS: Final[Mapping[str, tuple[str, ...]]] = {
    POSITIVE: (".", ".", "!", "!!", " 😀", " 👍", ". Will buy again.", ". Recommended to {who}.", ". Thank you!", ". Keep it up!", ". Happy customer here."),
    NEUTRAL: (".", ".", "?", "?", " 🤔", ". Any news?", ". See you {when}.", ". Asking for {who}."),
    NEGATIVE: (
        ".",
        ".",
        "!",
        "!!",
        " 😡",
        ". Disappointed.",
        ". Never again.",
        ". I want my money back.",
        ". Fix this!",
        ". {Who} had the same problem.",
        ". Avoid.",
    ),
    MIXED: (".", ".", "!", ". We will see.", ". {Who} thinks the same."),
}
_FOREIGN: Final[Mapping[str, tuple[str, ...]]] = {
    "de": (
        "{it}: {when} bestellt, heute angekommen, passt sehr gut.",
        "Das Paket mit {it} ist seit Tagen unterwegs und niemand antwortet.",
        "Weiß jemand, ob es {it} noch in anderen Farben gibt?",
        "Die Verarbeitung von {it} gefällt mir, der Preis weniger.",
        "Sehr freundliche Beratung, {it} gerne wieder.",
    ),
    "fr": (
        "{it} : commandé la semaine dernière, arrivé hier, très confortable.",
        "Toujours pas de nouvelles de mon colis ({it}), c'est long.",
        "Quelqu'un connaît la taille de {it} ?",
        "Bonne qualité pour {it}, mais un peu cher.",
    ),
}
_CAUSES: Final[Mapping[str, tuple[str, ...]]] = {
    "shop": ("delivery", "delivery", "delivery", "quality", "quality", "quality", "service", "service", "payment", "price", "website"),
    "service": ("quality", "quality", "quality", "service", "service", "payment", "price", "website", "website"),
}


def pick_cause(rnd: Random, kind: str) -> str:
    """Something to complain about or to praise; a service delivers no parcels."""
    return rnd.choice(_CAUSES[kind])


def write(rnd: Random, tone: str, cause: str, thing: Thing) -> str:
    """A short text of this tone; a neutral or mixed one is about nothing in particular."""
    if tone == NEGATIVE:
        cores = _NEGATIVE[cause]
    elif tone == POSITIVE:
        cores = _POSITIVE[cause]
    else:
        cores = _NEUTRAL if tone == NEUTRAL else _MIXED
    return _fill(rnd, rnd.choice(_OPENERS[tone]) + rnd.choice(cores) + rnd.choice(_CLOSERS[tone]), thing)


def write_ticket(rnd: Random, tone: str, cause: str, thing: Thing) -> str:
    """A text to support: a complaint, or a plain question."""
    if tone == NEGATIVE:
        return write(rnd, NEGATIVE, cause, thing)
    return _fill(rnd, rnd.choice(_OPENERS[NEUTRAL]) + rnd.choice(_TICKETS[cause]) + rnd.choice(("?", ".", "? Thanks", ".")), thing)


def write_foreign(rnd: Random, thing: Thing) -> tuple[str, str]:
    """A language that is not English, and a text in it."""
    language = rnd.choice(("de", "de", "fr"))
    return language, rnd.choice(_FOREIGN[language]).format(it=thing.title, when=rnd.choice(("am Montag", "letzte Woche", "vorgestern")))


class _Words(dict[str, str]):
    """What stands for a slot, drawn when a template asks for it; `Who` begins a sentence."""

    def __init__(self, rnd: Random, thing: Thing) -> None:
        super().__init__(it=thing.title)
        self._rnd, self._thing = rnd, thing

    def __missing__(self, slot: str) -> str:
        word = self._rnd.choice(self._thing.parts if slot == "part" else _SLOTS[slot.lower()])
        return word if slot[0].islower() else word[0].upper() + word[1:]


def _fill(rnd: Random, template: str, thing: Thing) -> str:
    text = template.format_map(_Words(rnd, thing))
    return text[0].upper() + text[1:] if text[0].islower() else text
