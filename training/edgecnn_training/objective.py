"""What training makes small: cross-entropy with the labels and, with a teacher, the distance to its answers."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="edgecnn")
class Objective(keras.losses.Loss):
    """Cross-entropy of smoothed labels, and distillation where the targets carry a teacher's logits.

    ``loss = (1 - α) · CE(labels, softmax(z)) + α · T² · KL(softmax(t/T) ‖ softmax(z/T))`` with the network's logits z,
    the teacher's t, the weight α and the temperature T. T² keeps the gradients of both parts of one size.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, section 2.

    Args:
        classes: Number of logits.
        label_smoothing: Share of the label that is spread evenly over all classes.
        distill_weight: α; 0 without a teacher.
        distill_temperature: T.
    """

    def __init__(
        self, classes: int, label_smoothing: float = 0.0, distill_weight: float = 0.0, distill_temperature: float = 4.0
    ) -> None:
        super().__init__(name="objective")
        self.classes, self.label_smoothing = classes, label_smoothing
        self.distill_weight, self.distill_temperature = distill_weight, distill_temperature

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Targets (N, classes), or (N, 2 · classes) with a teacher's logits behind, and logits (N, classes) → (N,)."""
        labels = y_true[:, : self.classes]
        spread = labels * (1 - self.label_smoothing) + self.label_smoothing / self.classes
        loss = ops.categorical_crossentropy(spread, y_pred, from_logits=True)
        if not self.distill_weight:
            return loss
        hot = self.distill_temperature
        taught = ops.softmax(y_true[:, self.classes :] / hot)
        apart = ops.sum(taught * (ops.log(ops.maximum(taught, 1e-12)) - ops.log_softmax(y_pred / hot)), -1)
        return (1 - self.distill_weight) * loss + self.distill_weight * hot**2 * apart

    def get_config(self) -> dict[str, object]:
        """What rebuilds the loss."""
        return {
            "classes": self.classes,
            "label_smoothing": self.label_smoothing,
            "distill_weight": self.distill_weight,
            "distill_temperature": self.distill_temperature,
        }


@keras.saving.register_keras_serializable(package="edgecnn")  # type: ignore[untyped-decorator]  # Keras has no types
def top1(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """Whether the largest logit is that of the (most frequent) label: targets and logits as of `Objective` → (N,)."""
    return keras.metrics.categorical_accuracy(y_true[:, : y_pred.shape[-1]], y_pred)
