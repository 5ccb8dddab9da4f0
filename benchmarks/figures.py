"""Figures, the ratios between them, and how they are printed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

PEER_NAMES = ("pypiserver", "devpi", "peryx", "proxpi")


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure, and the processor time the server spent on each request of it."""

    value: float
    cpu_us: float | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit that a figure, nearly always a ratio, has to keep.

    Attributes:
        text: What the figure is, as a reader says it.
        figure: How it follows from the samples; KeyError says that a part was not measured.
        limit: The least, or with *at_most* the greatest, good value; None for a figure that is
            only told.
        at_most: Whether less is better.
    """

    text: str
    figure: Callable[["Result"], float]
    limit: float | None
    at_most: bool = False

    def is_met(self, value: float) -> bool:
        """Say whether *value* is good enough."""
        if self.limit is None:
            return True
        return value <= self.limit if self.at_most else value >= self.limit

    def sentence(self, value: float) -> str:
        """Return the goal, the figure and the verdict in one line."""
        if self.limit is None:
            return f"{self.text}: {value:.3g}"
        sign = "≤" if self.at_most else "≥"
        verdict = "met" if self.is_met(value) else "MISSED"
        return f"{self.text}: {value:.3g} (goal {sign} {self.limit:g}: {verdict})"


@dataclass
class Result:
    """The samples of one scenario by label: a target's name, with more where one has two."""

    unit: str
    better: Literal["more", "less"] = "more"
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def medians(self) -> dict[str, float]:
        """Return the median of every label that has samples."""
        return {label: self.median(label) for label in self.samples}

    def median(self, label: str) -> float:
        """Return the median of a label; KeyError says that it has no samples."""
        return median(sample.value for sample in self.samples[label])

    def cpu_us(self, label: str) -> float | None:
        """Return the median processor time of a request, where it was measured."""
        costs = [sample.cpu_us for sample in self.samples[label] if sample.cpu_us is not None]
        return median(costs) if costs else None

    def best_peer(self) -> str | None:
        """Return the registry, of those that are not Bonded, with the best median."""
        medians = {name: value for name, value in self.medians().items() if name in PEER_NAMES}
        choose = max if self.better == "more" else min
        return choose(medians, key=lambda name: medians[name], default=None)


def of_nginx(result: Result) -> float:
    """Return Bonded's figure as a share of nginx's."""
    return result.median("bonded") / result.median("nginx")


def of_granian(result: Result) -> float:
    """Return Bonded's figure as a share of its web server's, which does nothing else."""
    return result.median("bonded") / result.median("granian")


def of_best_peer(result: Result) -> float:
    """Return Bonded's rate as a multiple of the fastest other registry's."""
    rates = [result.median(name) for name in PEER_NAMES if name in result.samples]
    if not rates:
        raise KeyError("peers")
    return result.median("bonded") / max(rates)


def between(label: str, other: str) -> Callable[[Result], float]:
    """Return the ratio of two labels, as a goal takes it."""
    return lambda result: result.median(label) / result.median(other)


def round_by_round(label: str, other: str) -> Callable[[Result], float]:
    """Return the median of the ratios of two labels in each round, as a goal takes it.

    A minute in which the disk is busy hits both figures of a round, and only one of the medians.
    """

    def figure(result: Result) -> float:
        rounds = zip(result.samples[label], result.samples[other], strict=True)
        return median(one.value / two.value for one, two in rounds)

    return figure


def judge(result: Result, goals: Sequence[Goal]) -> list[tuple[Goal, float]]:
    """Return every goal whose parts were measured, with its figure."""
    judged = []
    for goal in goals:
        try:
            judged.append((goal, goal.figure(result)))
        except KeyError:
            continue
    return judged


def table(result: Result) -> str:
    """Lay a result out in columns: absolute, spread, processor time, and the two ratios."""
    medians, best = result.medians(), result.best_peer()
    beside = f"of {best}" if best else ""
    head = f"  {'':<22}{result.unit:>12}{'spread':>20}{'CPU µs':>9}{'of nginx':>10}{beside:>15}"
    lines = [head.rstrip()]
    for label, value in medians.items():
        values = [sample.value for sample in result.samples[label]]
        spread = f"{_short(min(values))} to {_short(max(values))}"
        cpu = result.cpu_us(label)
        columns = [
            f"{_short(value):>12}{spread:>20}",
            f"{_short(cpu) if cpu is not None else '':>9}",
            f"{_ratio(value, medians.get('nginx')):>10}",
            f"{_ratio(value, medians.get(best) if best else None):>15}",
        ]
        lines.append(f"  {label:<22}{''.join(columns)}   {result.notes.get(label, '')}".rstrip())
    absent = [label for label in result.notes if label not in medians]
    lines += [f"  {label:<22}{'—':>12}   {result.notes[label]}" for label in absent]
    return "\n".join(lines)


def _short(value: float) -> str:
    """Write a figure with three significant digits, or all of a large one."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float, other: float | None) -> str:
    return "" if not other else f"{value / other:.3g}"


def as_json(result: Result, goals: Sequence[Goal]) -> dict[str, Any]:
    """Return everything about a result that a program may want."""
    medians = result.medians()
    return {
        "unit": result.unit,
        "figures": {
            label: {
                "median": value,
                "samples": [sample.value for sample in result.samples[label]],
                "cpu_us": result.cpu_us(label),
            }
            for label, value in medians.items()
        },
        "notes": result.notes,
        "goals": [
            {"goal": goal.text, "figure": value, "limit": goal.limit, "met": goal.is_met(value)}
            for goal, value in judge(result, goals)
        ],
    }
