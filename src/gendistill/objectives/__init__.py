"""What a network minimises: one method per module.

Each module has a function `loss(logits, labels, teacher_logits, *, what it needs..., settings...)`:

- logits: the network's, float32, shape (B, K), with K classes; for text one row per position and K words;
- labels: int64, shape (B,);
- teacher_logits: the teacher's for the same views, float32, shape (B, K); None for a patriarch.

It returns a float32 scalar, the mean over the batch, or a dict of such scalars by name, weighted already: their sum is minimised,
and each is logged. A patriarch's objective ignores `teacher_logits`. No gradient flows to what comes from the teacher.

An objective that needs more names it in its YAML file as `needs: [...]`, and is passed it by keyword:

- maps, teacher_maps: outputs of layers of network and teacher, lists of float32 tensors, mostly of shape (B, C, H, W). The setting
  `taps` says which layers: by default those of the groups;
- weights, teacher_weights: the weights of those layers, lists of float32 tensors;
- features, teacher_features: what the classifiers are given, float32, shapes (B, F) and (B, F');
- input: the normalised images that the network is given, float32, shape (B, C, H, W), which gradients can be taken by;
- teacher_input_gradient: of the sum of the teacher's cross-entropies by the images that it is given, float32, shape (B, C, H, W);
- images: positions of the batch's images in the training set, int64, shape (B,);
- epoch: int, from 0;
- key: int of 128 bits, the network's own for the random numbers of its objective;
- parts: weights of the objective's own, a module, trained with the network and left behind;
- what a joint network gives: the setting `gives` of its YAML file.

Beside `loss` a module may have

- `parts(shapes, teacher_shapes, settings...)`, which makes these weights, from the shapes of the layers' outputs for one image;
- `check(shapes, teacher_shapes)`, which raises SettingError where layers can't be matched, before training;
- `first_loss(logits, labels, teacher_logits, ...)`, minimised in a first stage whose length is the setting `first_stage`.

How to add one: CONTRIBUTING.md.
"""
