"""What a network minimises: one method per module.

Each module has a function `loss(logits, labels, teacher_logits, *, settings...) -> Tensor`:

- logits: the network's, float32, shape (B, K);
- labels: int64, shape (B,);
- teacher_logits: the teacher's for the same views, float32, shape (B, K); None for a patriarch.

It returns a float32 scalar, the mean over the batch. A patriarch's objective ignores `teacher_logits`. How to add one:
CONTRIBUTING.md.
"""
