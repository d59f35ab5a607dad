"""The tables of an experiment: what names a row of each, and the metrics in its columns."""

TABLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "error": (("lineage", "generation"), ("test_error_pct", "best_epoch_test_error_pct", "train_error_pct")),
    "perplexity": (("lineage", "generation"), ("test_perplexity", "validation_perplexity", "train_perplexity")),
    "ensembles": (
        ("lineage", "members", "size", "networks_trained"),
        ("test_error_pct", "mean_member_test_error_pct"),
    ),
    "transfer": (("target", "lineage", "generation"), ("test_error_pct", "train_error_pct")),
    "confidence": (
        ("lineage", "generation"),
        (*(f"confidence_top{k}_pct" for k in range(1, 5)), "train_accuracy_pct", "test_accuracy_pct"),
    ),
    "early_exits": (
        ("lineage", "generation"),
        (
            *("test_accuracy_pct", "multiply_adds_millions"),
            *("early_exit_test_accuracy_pct", "early_exit_multiply_adds_millions", "early_exit_threshold"),
        ),
    ),
    "structure": (
        ("lineage", "generation"),
        ("dist_c_train", "dist_s_train", "dist_c_test", "dist_s_test", "second_class_in_superclass_train_pct"),
    ),
}
