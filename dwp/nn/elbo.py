"""The loss that a Bayesian net is trained with."""

from torch import Tensor
from torch.nn import functional as F

from dwp.errors import UserError, check_count


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy (...) of logits (..., batch, classes), in nats an example."""
    return F.cross_entropy(logits.movedim(-1, 1), targets, reduction="none").mean(-1)


def negative_elbo(
    logits: Tensor, targets: Tensor, kl: Tensor | float, n: int, *, temperature: float = 1.0
) -> Tensor:
    """Return minus the evidence lower bound of a classifier, in nats of the whole training set.

    It is n times the mean cross-entropy of the batch, plus the KL; equally, n / batch times the
    cross-entropy summed over the batch, plus the KL. The KL counts once for the whole training set.
    With a KL that is exact or estimated without bias (see `dwp.kl`), a batch drawn at random gives
    an unbiased estimate of what all n examples give. Divided by n the loss is in nats an example.

    Args:
        logits: (batch, classes), one draw of the net's outputs; of R runs (R, batch, classes). One
            logit stands for two classes of logits 0 and z, as for `dwp.predict`.
        targets: the classes (batch,) as whole numbers; of R runs (R, batch).
        kl: of all layers, () as from `dwp.kl(net)`; of R runs (R,).
        n: number of examples in the training set, not in the batch.
        temperature: factor of the KL. At 1 the loss is minus the ELBO; below it the prior pulls
            less than by Bayes' rule, above it more.

    Returns:
        The loss, () or (R,).

    Raises:
        UserError: logits and targets do not fit each other, or n is no whole number above 0.
    """
    if targets.shape != logits.shape[:-1] or not targets.dim():
        shapes = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
        raise UserError(f"targets: expected logits (batch, classes) and (batch,), found {shapes}")
    check_count("n", n)
    if logits.shape[-1] == 1:
        logits = F.pad(logits, (1, 0))
    return n * cross_entropy(logits, targets) + temperature * kl
