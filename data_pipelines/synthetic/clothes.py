"""Fabrics and outfits of the drawn people."""

import dataclasses

import numpy as np

# Eight fabrics of twenty are plain, eight fall in folds, and each real pattern is one.
PATTERNS = (*("plain", "folds") * 8, "rings", "stripes", "plaid", "dots")
PALE, DARK = np.array([250.0, 214.0, 186.0]), np.array([92.0, 58.0, 40.0])  # skin
WHITE, RED = np.array([235.0, 232, 228]), np.array([0.8, 0.5, 0.5])
HAIR = np.array([[22.0, 18, 16], [74, 46, 28], [156, 112, 56], [150, 148, 145], [120, 52, 26]])


@dataclasses.dataclass(frozen=True)
class Fabric:
    """A colour, or two of them in a pattern; `period` in standing heights."""

    color: np.ndarray
    other: np.ndarray
    pattern: str = "plain"
    period: float = 0.03

    def __call__(self, along: np.ndarray, around: np.ndarray) -> np.ndarray:
        """The colour at every point of a limb, (h, w, 3) or (3,)."""
        if self.pattern == "plain":
            return self.color
        waves = np.sin(np.stack([along, around]) * (2 * np.pi / self.period))
        rings, stripes = np.clip(3 * waves + 0.5, 0, 1)
        share = {
            "rings": rings,
            "stripes": stripes,
            "plaid": (rings + stripes) / 2,
            "dots": rings * stripes,
            "folds": 0.3 * np.clip(waves[0] + waves[1], 0, 1),
        }[self.pattern]
        return self.color + share[..., None] * (self.other - self.color)


def random_color(rng: np.random.Generator) -> np.ndarray:
    """A colour as clothes have it: any hue, often dull, (3,) of 0 to 255."""
    hue, strength, value = rng.random(), rng.beta(1.2, 1.8), rng.uniform(0.2, 0.97)
    wheel = np.clip(np.abs((hue + np.array([0, 2, 1]) / 3) % 1 * 6 - 3) - 1, 0, 1)
    return 255 * value * (1 + strength * (wheel - 1))


def random_fabric(rng: np.random.Generator) -> Fabric:
    """A fabric in random colours and a random pattern."""
    pattern = PATTERNS[rng.integers(len(PATTERNS))]
    return Fabric(random_color(rng), random_color(rng), pattern, rng.uniform(0.02, 0.07))


@dataclasses.dataclass(frozen=True)
class Outfit:
    """What a person looks like: fabrics by garment, how far garments reach (1 = elbow or knee)."""

    fabrics: dict[str, Fabric]
    reach: dict[str, float]
    extras: frozenset[str]
    build: float
    loose: float
    hairline: float


def random_outfit(rng: np.random.Generator) -> Outfit:
    """Any clothes on any body; some wear shirt and trousers of one fabric."""
    skin = PALE + rng.beta(1.1, 1.5) * (DARK - PALE) + rng.normal(0, 3, 3)
    hair = HAIR[rng.choice(5, p=(0.4, 0.25, 0.15, 0.1, 0.1))]
    hat = random_color(rng) if rng.random() < 0.15 else hair
    shirt, trousers = random_fabric(rng), random_fabric(rng)
    fabrics = {
        "skin": Fabric(skin, skin),
        "shirt": shirt,
        "trousers": shirt if rng.random() < 0.08 else trousers,
        "shoes": Fabric(random_color(rng), hair),
        "hair": Fabric(hat, 0.6 * hat, "folds", 0.02),
        "trim": Fabric(random_color(rng), hair),
        "bag": random_fabric(rng),
        "white": Fabric(WHITE, WHITE),
        "pupil": Fabric(0.15 * HAIR[1], hair),
        "brow": Fabric(0.7 * hair, hair),
        "lips": Fabric(skin * RED, skin),
        "nose": Fabric(0.88 * skin, skin),
    }
    sleeves = (0.0, 0.45, 0.6, 1.5, 1.95, 2.0)[rng.integers(6)]
    legs = (0.35, 0.6, 0.9, 1.5, 1.95, 2.0, 2.0)[rng.integers(7)]
    chances = {"skirt": 0.1, "long hair": 0.3, "bag": 0.05, "buttons": 0.6}
    return Outfit(
        fabrics,
        {"all": 1.0, "sleeves": sleeves, "legs": legs},
        frozenset(name for name, chance in chances.items() if rng.random() < chance),
        build=np.clip(rng.normal(1, 0.12), 0.8, 1.35),
        loose=rng.uniform(1, 1.3),
        hairline=rng.normal(0, 0.12) if rng.random() < 0.92 else 2.0,
    )
