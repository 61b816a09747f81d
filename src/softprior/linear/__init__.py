"""The posterior loss of a linear head, without its (N, K) logits: for vocabularies."""

from softprior.linear.criterion import LinearPosteriorLoss
from softprior.linear.head import TeacherHead
from softprior.linear.loss import linear_posterior_loss

__all__ = ["LinearPosteriorLoss", "TeacherHead", "linear_posterior_loss"]
