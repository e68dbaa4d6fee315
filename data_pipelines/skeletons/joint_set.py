"""What a joint set is: names, left/right pairs, limbs and the sigmas of its metric."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A joint set; joints are numbered by their place in `names`.

    `flip_pairs` are joints that change places in a mirrored image, in either order; `limbs` the
    lines to draw; `sigmas` the per-joint constants of OKS; `upper_body` the joints that half-body
    augmentation calls the upper half.
    """

    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    upper_body: tuple[int, ...]

    @property
    def num_joints(self) -> int:
        """How many joints a person has."""
        return len(self.names)

    @property
    def flip_order(self) -> tuple[int, ...]:
        """For every joint of a mirrored person, the joint that it was before mirroring."""
        order = list(range(self.num_joints))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return tuple(order)
