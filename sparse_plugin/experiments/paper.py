"""The numbers of the paper's tables 1 to 3, as printed (arXiv 2104.00464)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperTable:
    """One table of results on CIFAR-10.

    number: the paper's, 0 for a table that is not in it. metric: what the paper measured. archs, methods: its rows and
    columns, by our names. fractions: shares of the training data. values: by (architecture, fraction), a value a method;
    absent where the paper has none.
    """

    number: int
    caption: str
    metric: str
    archs: tuple[str, ...]
    methods: tuple[str, ...]
    fractions: tuple[float, ...]
    values: dict[tuple[str, float], tuple[float, ...]]

    def value(self, arch: str, fraction: float, method: str) -> float | None:
        """The paper's number, None where it has none."""
        row = self.values.get((arch, fraction))
        return row[self.methods.index(method)] if row is not None and method in self.methods else None


METHODS = ("vanilla", "l0_inf", "l0", "l1", "ml_csc")

TABLES = {
    "table1": PaperTable(
        number=1,
        caption="CIFAR-10",
        metric="FID",
        archs=("dcgan", "cgan", "wgan_gp", "msgan", "sngan", "sagan", "ssgan", "biggan", "diffcrbiggan"),
        methods=METHODS,
        fractions=(1.0,),
        values={
            ("dcgan", 1.0): (37.75, 34.45, 35.53, 35.52, 32.30),
            ("cgan", 1.0): (27.64, 26.43, 26.06, 26.48, 26.41),
            ("wgan_gp", 1.0): (30.06, 28.97, 28.51, 30.59, 28.04),
            ("msgan", 1.0): (24.32, 21.72, 23.80, 23.91, 21.86),
            ("sngan", 1.0): (25.50, 25.11, 24.81, 24.85, 23.63),
            ("sagan", 1.0): (18.39, 18.23, 18.37, 18.48, 18.09),
            ("ssgan", 1.0): (11.40, 11.19, 11.57, 11.11, 10.92),
            ("biggan", 1.0): (8.23, 7.58, 7.50, 7.68, 7.66),
            ("diffcrbiggan", 1.0): (6.66, 6.22, 6.20, 6.31, 5.95),
        },
    ),
    "table2": PaperTable(
        number=2,
        caption="CIFAR-10, class-conditional",
        metric="IS",
        archs=("biggan", "diffcrbiggan"),
        methods=METHODS,
        fractions=(1.0,),
        values={
            ("biggan", 1.0): (9.28, 9.33, 9.33, 9.22, 9.31),
            ("diffcrbiggan", 1.0): (9.36, 9.39, 9.48, 9.42, 9.48),
        },
    ),
    "table3": PaperTable(
        number=3,
        caption="CIFAR-10, limited data",
        metric="FID",
        archs=("biggan", "diffcrbiggan"),
        methods=("vanilla", "l0_inf", "l0", "ml_csc"),
        fractions=(0.2, 0.1),
        values={
            ("biggan", 0.2): (20.25, 19.78, 19.96, 17.72),
            ("diffcrbiggan", 0.2): (11.29, 10.93, 10.62, 10.33),
            ("biggan", 0.1): (38.33, 42.52, 35.72, 37.77),
            ("diffcrbiggan", 0.1): (16.80, 15.30, 15.82, 16.20),
        },
    ),
}
