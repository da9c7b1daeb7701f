"""What the tables and figures of a classification compare."""

from pydantic import Field

from dwp.study.settings import Settings


class Comparison(Settings):
    """The priors, settings and numbers of the authors that a domain's runs are compared by."""

    domain: str
    """Its name."""

    dataset: str
    """The authors' name of our data set, or "none"."""

    prior: str
    """The prior that the others are tested against."""

    vary: dict[str, list[str]] = Field({})
    """The values of each setting that is compared, as text, in order."""

    tune: dict[str, list[str]] = Field({})
    """The values of each setting that is chosen among, as text, in order."""

    tune_by: str
    """The validation metric by which they are chosen."""

    variants: list[dict[str, str]] = Field([])
    """`prior`, `variant` and settings as text of each combination; none without such settings."""

    full: dict[str, str] = Field({})
    """`prior` and `init` of the cell whose gain is split into parts; none without a crossing."""

    reference: dict[str, str] = Field({})
    """`prior` and `init` of the cell that it is compared with."""

    @property
    def listed(self) -> dict[str, list[str]]:
        """The values of each varied and tuned setting."""
        return {**self.vary, **self.tune}

    @property
    def chosen_by(self) -> list[str]:
        """The column that says how tuned settings were chosen, if some are tuned."""
        return ["chosen_by"] if self.tune else []
