"""What the names of joints say: which are each other's mirror images, and which are upper body."""

import re

# Where a word ends though no separator follows: leftEye, RShoulder.
CASE_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
WORD = re.compile(r"[^\W\d_]+|\d+")
UPPER = {"head", "face", "nose", "eye", "ear", "neck", "thorax", "shoulder", "elbow", "wrist"}
UPPER |= {"hand"}
RIGHT_OF = {"l": "r", "left": "right"}


def mirrored_names(names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Pairs of joints whose names differ in left and right (or l and r) alone, left ones first.

    The sides may be words of their own (left_eye, eye-l, LShoulder, leftEye), part of a word
    (lefteye), or the first letter of both names (Lankle and Rankle).
    """
    words = [_words(name) for name in names]
    places = {name: joint for joint, name in reversed([*enumerate(words)])}
    pairs = {}
    for joint, name in enumerate(words):
        right = places.get(_mirrored(name), places.get(_other_initial(name)))
        if right is not None:
            pairs.setdefault(right, joint)  # of two joints of one name, the first
    return tuple(sorted((left, right) for right, left in pairs.items()))


def _words(name):
    return tuple(word.lower() for word in WORD.findall(CASE_CHANGE.sub("_", name)))


def _mirrored(words):
    """The words with right instead of left; None without left."""
    right = tuple(RIGHT_OF.get(word, word.replace("left", "right")) for word in words)
    return right if right != words else None


def _other_initial(words):
    """The words with r instead of l in front, as of lankle; None for other words."""
    if words and words[0].startswith("l") and len(words[0]) > 2 and _mirrored(words) is None:
        return (f"r{words[0][1:]}", *words[1:])
    return None


def left_first(names: tuple[str, ...], pair: tuple[int, int]) -> tuple[int, int]:
    """A flip pair with the left joint first, as far as the names tell."""
    swapped = pair[::-1]
    is_right = _side(names[pair[0]]) == "right"
    return swapped if is_right or swapped in mirrored_names(names) else pair


def _side(name):
    """The side that a name says by a word, left or right, or nothing."""
    words = _words(name)
    sides = {"left" if _mirrored(words) else "", "right" if _is_right(words) else ""} - {""}
    return sides.pop() if len(sides) == 1 else ""


def _is_right(words):
    return any(word == "r" or "right" in word for word in words)


def unpaired(names: tuple[str, ...], flip_pairs: tuple[tuple[int, int], ...]) -> tuple[str, ...]:
    """Joints that are named for a side and have no pair, where both sides are named."""
    paired = {joint for pair in flip_pairs for joint in pair}
    sides = {name: _side(name) for name in names}
    if not {"left", "right"} <= set(sides.values()):
        return ()
    return tuple(name for joint, name in enumerate(names) if sides[name] and joint not in paired)


def contradicting_pairs(
    names: tuple[str, ...], flip_pairs: tuple[tuple[int, int], ...]
) -> tuple[str, ...]:
    """Flip pairs, like left_eye-right_ear, of joints whose names pair them with another joint."""
    named = {frozenset(pair) for pair in mirrored_names(names)}
    sided = frozenset().union(*named)
    wrong = [pair for pair in flip_pairs if set(pair) & sided and frozenset(pair) not in named]
    return tuple("-".join(names[joint] for joint in sorted(pair)) for pair in wrong)


def upper_body(names: tuple[str, ...]) -> tuple[int, ...]:
    """Joints of the head, neck, shoulders and arms."""
    paired = {joint for pair in mirrored_names(names) for joint in pair}
    initials = {joint for joint in paired if not _side(names[joint])}  # Lankle and Rankle
    return tuple(
        joint
        for joint, name in enumerate(names)
        if any(_is_upper(word, initial=joint in initials) for word in _words(name))
    )


def _is_upper(word, *, initial):
    bare = {word, word.replace("left", "").replace("right", "")}
    if initial and word[0] in "lr":
        bare.add(word[1:])
    return bool(bare & UPPER)
