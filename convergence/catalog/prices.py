"""What work and storage cost, from a file of prices: figures of machines become money in one place."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from convergence.errors import SettingsError


@dataclass(frozen=True)
class Prices:
    """Of one core for an hour, a GiB of memory for an hour, and 10^9 bytes for a month, in `currency`."""

    currency: str
    cpu_hour: float
    memory_gib_hour: float
    storage_gb_month: float

    def of_making(self, cpu_seconds: float, elapsed_seconds: float, peak_memory_mib: float) -> float:
        """Cost of a piece of work: its CPU, and its peak of memory for as long as it took."""
        memory = peak_memory_mib / 1024 * elapsed_seconds
        return (cpu_seconds * self.cpu_hour + memory * self.memory_gib_hour) / 3600

    def of_keeping(self, size: int) -> float:
        """Cost of keeping so many bytes for a month."""
        return size / 1e9 * self.storage_gb_month


def read_prices(path: Path) -> Prices:
    """Prices as a file gives them. Raises SettingsError for a file that is not there or does not give them."""
    expected = {field.name: str if field.name == "currency" else float for field in fields(Prices)}
    try:
        given = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} holds no prices: {error}. See deploy/prices.toml") from error
    numbers = {k: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in given.items()}
    wrong = [n for n, kind in expected.items() if not isinstance(numbers.get(n), kind) or _negative(numbers[n])]
    if wrong or (wrong := sorted(given.keys() - expected)):
        raise SettingsError(
            f"{path}: {', '.join(wrong)}; expected exactly {', '.join(expected)}: a name, and numbers from 0. "
            "See deploy/prices.toml"
        )
    return Prices(**numbers)  # pyright: ignore[reportArgumentType]


def _negative(value: object) -> bool:
    return isinstance(value, float) and not 0 <= value < float("inf")
