"""What a network minimises: one method per module.

Each module has a function `loss(logits, labels, teacher_logits, *, settings...) -> Tensor`:

- logits: the network's, float32, shape (B, K), with K classes; for text one row per position and K words;
- labels: int64, shape (B,);
- teacher_logits: the teacher's for the same views, float32, shape (B, K); None for a patriarch.

It returns a float32 scalar, the mean over the batch. A patriarch's objective ignores `teacher_logits`. No gradient flows
to what comes from the teacher.

An objective that needs more names it in its YAML file as `needs: [...]`, and is passed it by keyword:

- maps, teacher_maps: outputs of the groups of layers of network and teacher, lists of float32 tensors of shape
  (B, C, H, W); channels may differ between the two, resolutions not;
- images: positions of the batch's images in the training set, int64, shape (B,);
- epoch: int, from 0;
- key: int of 128 bits, the network's own for the random numbers of its objective.

How to add one: CONTRIBUTING.md.
"""
