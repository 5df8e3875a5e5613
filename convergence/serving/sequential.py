"""Whether two variants differ, looked at as often as one likes: the chance of a false alarm holds over the whole run.

Under equal rates each event happens in the treated group with the probability that units are assigned to it, whatever
the rate does over time. The likelihood of what was seen under a uniform mixture of other probabilities, against that
one, is a martingale, so by Ville's inequality it ever exceeds 1/alpha with probability alpha at most.
Source: Lindon and Malek, Anytime-Valid Inference For Multinomial Count Data, NeurIPS 2022.
"""

from math import exp, lgamma, log, log1p


def log_evidence(treated: int, others: int, share: float) -> float:
    """Log of the evidence that events do not fall on the treated group by its share.

    Args:
        treated: events in the treated group.
        others: events elsewhere.
        share: of the units that are treated, in (0, 1).
    """
    mixture = lgamma(treated + 1) + lgamma(others + 1) - lgamma(treated + others + 2)
    return mixture - treated * log(share) - others * log1p(-share)


class SequentialTest:
    """Rates of an event in two groups, unit by unit, each counted once.

    Events and non-events are weighed alike, so rare and frequent events are both told apart soon; the mean of two
    martingales is one.
    """

    def __init__(self, share: float) -> None:
        self.share = share  # of the units that are treated
        self.units = [0, 0]  # others, treated
        self.events = [0, 0]
        self._least = 1.0

    def observe(self, *, treated: bool, event: bool) -> None:
        """Count one unit."""
        self.units[treated] += 1
        self.events[treated] += event
        missed = [n - k for n, k in zip(self.units, self.events, strict=True)]
        both = [log_evidence(k[1], k[0], self.share) for k in (self.events, missed)]
        top = max(both)
        log_mean = top + log(sum(exp(one - top) for one in both) / 2)
        self._least = min(self._least, exp(min(0.0, -log_mean)))

    @property
    def p_value(self) -> float:
        """Always valid: under equal rates it is ever below alpha with probability alpha at most."""
        return self._least

    @property
    def rates(self) -> tuple[float, float]:
        """Share of events among the others and the treated; 0 where nobody was observed."""
        others, treated = (k / n if n else 0.0 for k, n in zip(self.events, self.units, strict=True))
        return others, treated
