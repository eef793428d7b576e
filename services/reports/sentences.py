"""The analysis in plain words: who was seen doing what, from when to when."""

from collections.abc import Mapping, Sequence

from services.contracts.events import Analysis, Event
from services.reports.people import Person
from services.reports.timecode import format_span

# More would be a table in prose; the table follows.
LONGEST_LIST = 4
VOWELS = frozenset("aeiou")


def describe_action(action: str) -> str:
    """Turn an action's name into what somebody "was" doing: sit_down becomes "sitting down"."""
    verb, *rest = action.replace("_", " ").replace("-", " ").split() or [action]
    return " ".join([_gerund(verb), *rest])


def _gerund(verb: str) -> str:
    if verb.endswith("ing") and VOWELS & set(verb[:-3]):
        return verb
    if verb.endswith("ie"):
        return f"{verb[:-2]}ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return f"{verb[:-1]}ing"
    one_short_vowel = sum(letter in VOWELS for letter in verb) == 1 and verb[-2:-1] in VOWELS
    if one_short_vowel and verb[-1] not in VOWELS | set("wxy"):
        return f"{verb}{verb[-1]}ing"
    return f"{verb}ing"


def count_of(number: int, noun: str, plural: str | None = None) -> str:
    """ "1 action", "2 actions"; the plural is the noun and an s unless given."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def join_words(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def title_of(people: Sequence[Person]) -> str:
    """Who is in the clip, in one line."""
    names = [person.name for person in people if person.recognised]
    if len(names) > LONGEST_LIST:
        names = [*names[: LONGEST_LIST - 1], f"{len(names) - LONGEST_LIST + 1} others we know"]
    strangers = sum(person.decision == "unknown" for person in people)
    doubtful = sum(person.decision == "abstained" for person in people)
    if strangers:
        names.append(count_of(strangers, "track of somebody unknown", "tracks of unknown people"))
    if doubtful:
        names.append(f"{count_of(doubtful, 'track')} we are not sure about")
    if not names:
        return "Nobody was seen"
    joined = join_words(names)
    return joined[0].upper() + joined[1:] if not people[0].recognised else joined


def deeds_of(person: Person, analysis: Analysis, person_of: Mapping[str, Person]) -> str:
    """What one person did, as the words after their name: "was walking 0:01.0–0:04.0, then ...".

    Args:
        person: Who.
        analysis: Of the clip.
        person_of: Everyone in it by track id.
    """
    track_ids = {report.track.track_id for report in person.tracks}
    events = [event for event in analysis.events if event.track_id in track_ids]
    if not events:
        last = max(report.track.end_seconds for report in person.tracks)
        seen = f"was in view {format_span(person.tracks[0].track.start_seconds, last)}"
        why = "what they did is not known" if "action" in analysis.failures else "doing nothing we name"
        return f"{seen}, {why}."
    longest = sorted(events, key=lambda event: event.start_seconds - event.end_seconds)[:LONGEST_LIST]
    told = ", then ".join(_tell(event, person_of) for event in sorted(longest, key=lambda event: event.start_seconds))
    more = len(events) - len(longest)
    rest = f", and {count_of(more, 'event')} more" if more else ""
    return f"was {told}{rest}."


def _tell(event: Event, person_of: Mapping[str, Person]) -> str:
    whom = f" {person_of[event.toward.track_id].name}" if event.toward else ""
    span = format_span(event.start_seconds, event.end_seconds)
    return f"{describe_action(event.action.name)}{whom}{part_of(event)} {span}"


def part_of(event: Event) -> str:
    """What its action was part of, as words to follow it; nothing where it is part of nothing but itself."""
    if event.behaviour is None or event.behaviour.name == event.action.name:
        return ""
    return f" ({event.behaviour.name.replace('_', ' ')})"
