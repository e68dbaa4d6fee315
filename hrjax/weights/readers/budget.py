"""How much work and memory a file may ask for, in proportion to its size."""

OPERATIONS = 500_000  # of a pickle, besides those that a large file has; a tensor takes about 45
BYTES_PER_OPERATION = 128
ARGUMENTS = 4  # how often each byte of a pickle may be an argument of a call
TEXTS = 2  # bytes in memory for each byte of text that is not ASCII
VIEWS = 8  # how often each number may be part of a tensor: storages are shared, tensors expanded
SMALL = 64 * 2**20  # bytes of tensors that even the smallest file may describe
TUPLE_KEYS = 1000  # whose hashes, unlike those of texts, a file can make collide


class Budget:
    """What is left of the work and memory that a file of `size` bytes may ask for."""

    def __init__(self, size: int):
        self.operations = OPERATIONS + size // BYTES_PER_OPERATION
        self._arguments = ARGUMENTS * size + OPERATIONS
        self._texts = TEXTS * size + OPERATIONS
        self._viewed = VIEWS * size + SMALL
        self._tuple_keys = TUPLE_KEYS

    def spend_arguments(self, count: int) -> None:
        """Counts the lengths of a call's arguments: a call takes as long as they are long."""
        self._arguments -= count
        if self._arguments < 0:
            raise ValueError("its pickle uses the same data too often")

    def spend_text(self, count: int) -> None:
        """Counts the bytes that a text takes in memory, up to four times those in the file."""
        self._texts -= count
        if self._texts < 0:
            raise ValueError("its pickle has too many texts of wide characters")

    def spend_view(self, count: int) -> None:
        """Counts the bytes that a tensor would take if it were copied."""
        self._viewed -= count
        if self._viewed < 0:
            raise ValueError("its tensors describe far more numbers than it holds")

    def spend_tuple_key(self) -> None:
        """Counts a key that is a tuple."""
        self._tuple_keys -= 1
        if self._tuple_keys < 0:
            raise ValueError(f"more than {TUPLE_KEYS} keys of its pickle are tuples")
