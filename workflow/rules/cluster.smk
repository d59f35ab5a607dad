# Megabytes and minutes of the first attempt of each rule.
NEEDS = {
    "ensemble": (2000, 60),
    "transfer": (10000, 60),
    "statistics": (2000, 60),
    "agreement": (4000, 120),
    "class_structure": (4000, 60),
    "fine_tune": (8000, 720),
    "dataset": (10000, 60),
    "patriarch": (4000, 720),
    "softlabels": (4000, 240),
    "generation": (4000, 720),
    "text": (2000, 30),
    "language_patriarch": (8000, 720),
    "language_softlabels": (8000, 240),
    "language_generation": (8000, 720),
    "tables": (2000, 30),
    "paper_table": (2000, 30),
    "report": (2000, 10),
}
# What computes with networks, and uses a GPU where the runtime's device is not cpu.
WITH_NETWORKS = {*NETWORKS, "softlabels", "language_softlabels", "transfer", "statistics", "agreement"}


def resources_of(rule_name):
    """The resources of a rule's jobs: memory and time, more with each attempt; on a cluster also where they run."""
    memory, minutes = NEEDS[rule_name]
    of_site = {}
    if SITE is not None:
        names = ["slurm_partition", "gpu", *(["slurm_account"] if SITE.account != "none" else [])]
        names += ["gpu_model"] if SITE.gpu_type not in ("any", "none") else []
        of_site = {name: resource_of_site(rule_name, name) for name in names}
    return {"mem_mb": grows(memory), "runtime": grows(minutes), **of_site}


def resource_of_site(rule_name, name):
    """Resources function: what the site's settings say for a step with or without a GPU."""

    def resource(wildcards):
        uses_gpu = rule_name in WITH_NETWORKS and runtime(rule_name, wildcards, "device") != "cpu"
        found = SITE.resources(uses_gpu).get(name, 0 if name == "gpu" else "")
        return found * processes_of(rule_name, wildcards) if name == "gpu" else found

    return resource


def grows(amount):
    """Resources function: more with each attempt."""
    return lambda wildcards, attempt: amount * attempt
