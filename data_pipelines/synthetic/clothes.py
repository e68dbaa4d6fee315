"""Random fabrics and outfits for drawn people."""

import dataclasses

import numpy as np

# Of twenty fabrics, eight are plain, eight have folds, and each of the four patterns occurs once.
PATTERNS = (*("plain", "folds") * 8, "rings", "stripes", "plaid", "dots")
PALE, DARK = np.array([250.0, 214.0, 186.0]), np.array([92.0, 58.0, 40.0])  # skin
WHITE, RED = np.array([235.0, 232, 228]), np.array([0.8, 0.5, 0.5])
HAIR = np.array([[22.0, 18, 16], [74, 46, 28], [156, 112, 56], [150, 148, 145], [120, 52, 26]])


@dataclasses.dataclass(frozen=True)
class Fabric:
    """One color, or a pattern of two; `period` is in units of the standing height."""

    color: np.ndarray
    second_color: np.ndarray
    pattern: str = "plain"
    period: float = 0.03

    def __call__(self, along: np.ndarray, around: np.ndarray) -> np.ndarray:
        """The color at every point of a limb, (h, w, 3), or (3,) if it is the same everywhere."""
        if self.pattern == "plain":
            return self.color
        waves = np.sin(np.stack([along, around]) * (2 * np.pi / self.period))
        rings, stripes = np.clip(3 * waves + 0.5, 0, 1)
        weight = {
            "rings": rings,
            "stripes": stripes,
            "plaid": (rings + stripes) / 2,
            "dots": rings * stripes,
            "folds": 0.3 * np.clip(waves[0] + waves[1], 0, 1),
        }[self.pattern]
        return self.color + weight[..., None] * (self.second_color - self.color)


def random_color(rng: np.random.Generator) -> np.ndarray:
    """A clothing color: any hue, often desaturated, (3,) from 0 to 255."""
    hue, saturation, value = rng.random(), rng.beta(1.2, 1.8), rng.uniform(0.2, 0.97)
    wheel = np.clip(np.abs((hue + np.array([0, 2, 1]) / 3) % 1 * 6 - 3) - 1, 0, 1)
    return 255 * value * (1 + saturation * (wheel - 1))


def random_fabric(rng: np.random.Generator) -> Fabric:
    """A fabric with random colors and a random pattern."""
    pattern = PATTERNS[rng.integers(len(PATTERNS))]
    return Fabric(random_color(rng), random_color(rng), pattern, rng.uniform(0.02, 0.07))


@dataclasses.dataclass(frozen=True)
class Outfit:
    """The appearance of a person.

    `fabrics` are by garment. `reach` says how far garments extend along a limb (1 = elbow or knee),
    `extras` which optional parts there are. `build` scales the width of the body, `looseness` the
    width of garments; a larger `hairline` means less hair.
    """

    fabrics: dict[str, Fabric]
    reach: dict[str, float]
    extras: frozenset[str]
    build: float
    looseness: float
    hairline: float


def random_outfit(rng: np.random.Generator) -> Outfit:
    """Any combination of clothes; some people wear shirt and trousers of the same fabric."""
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
        looseness=rng.uniform(1, 1.3),
        hairline=rng.normal(0, 0.12) if rng.random() < 0.92 else 2.0,
    )
