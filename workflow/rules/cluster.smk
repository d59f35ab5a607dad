# Megabytes and minutes of the first attempt of each rule, where nothing asks for a prediction or the work is not known yet.
NEEDS = {
    "ensemble": (2000, 60),
    "transfer": (10000, 60),
    "statistics": (2000, 60),
    "agreement": (4000, 120),
    "class_structure": (4000, 60),
    "early_exit": (2000, 30),
    "fine_tune": (8000, 720),
    "dataset": (10000, 60),
    "patriarch": (4000, 720),
    "softlabels": (4000, 240),
    "generation": (4000, 720),
    "member": (4000, 60),
    "text": (2000, 30),
    "language_patriarch": (8000, 720),
    "language_softlabels": (8000, 240),
    "language_generation": (8000, 720),
    "tables": (2000, 30),
    "paper_table": (2000, 30),
    "claims": (2000, 30),
    "figure": (2000, 30),
    "report": (2000, 10),
}


def resources_of(rule_name):
    """The resources of a rule's jobs: memory and time, more with each attempt; on a cluster also where they run."""
    return resources_of_jobs(lambda wildcards: [step_of(rule_name, wildcards)] if rule_name != "report" else [], NEEDS[rule_name])


def resources_of_jobs(steps_of, needs):
    """The resources of jobs each of which does some steps at the same time, of one kind."""
    memory, minutes = needs
    found = {
        "mem_mb": lambda wildcards, attempt: amount_of(steps_of(wildcards), attempt, "memory_mb", memory),
        "runtime": lambda wildcards, attempt: amount_of(steps_of(wildcards), attempt, "minutes", minutes),
    }
    if SITE is not None:
        names = ["slurm_partition", "gpu", *(["slurm_account"] if SITE.account != "none" else [])]
        names += ["gpu_model"] if SITE.gpu_type not in ("any", "none") else []
        found |= {name: lambda wildcards, name=name: of_site(steps_of(wildcards), name) for name in names}
        # Else Slurm may take the GPUs of one job from two nodes.
        found["nodes"] = 1
    if PREDICTS:
        found["gpu_memory_mb"] = lambda wildcards, attempt: amount_of(steps_of(wildcards), attempt, "gpu_memory_mb", 0)
    return found


def amount_of(steps, attempt, name, first):
    """An amount that is predicted for steps that one job does; else, that of the first attempt as often as it is tried."""
    job = predicted(tuple(step.name for step in steps), attempt) if PREDICTS and steps else None
    at_a_time = len(steps) * processes_of(steps[0]) if steps and name == "memory_mb" else 1
    amount = getattr(job, name) if job else first * attempt * at_a_time
    limit = LIMITS.get(of_site(steps, "slurm_partition")) if name == "minutes" and SITE is not None else None
    return min(amount, limit) if limit else amount


def of_site(steps, name):
    """What the site's settings say for a job with or without a GPU."""
    found = SITE.resources(any(uses_gpu(step) for step in steps)).get(name, 0 if name == "gpu" else "")
    return found * processes_of(steps[0]) if name == "gpu" and found else found


def uses_gpu(step):
    """Whether the job of a step gets a GPU."""
    has_gpu = SITE.gpu_type != "none" if SITE is not None else shutil.which("nvidia-smi") is not None
    return step.kind in COMPUTES and PLAN.runtime[step.name]["device"] != "cpu" and has_gpu


@functools.cache
def predicted(names, attempt):
    """What a job is predicted to need that does these steps at the same time; None if the work of one is not known yet."""
    steps = [PLAN.steps[name] for name in names]
    tell_of_counting()
    jobs = [job_of(PLAN, step, uses_gpu(step), SITE and SITE.device, attempt) for step in steps]
    if None in jobs:
        return None
    job = side_by_side(jobs, uses_gpu(steps[0])) if len(jobs) > 1 else jobs[0]
    if ON_LOGIN_NODE and attempt == 1:
        tell_what_is_too_small(names, job, of_site(steps, "slurm_partition"))
    return job


@functools.cache
def tell_of_counting():
    """Say once why nothing happens for a while, where nothing was ever counted."""
    if not (CACHE / "costs.json").exists():
        logger.info("Counting the work of each network: once, up to seven minutes for all published tables.")


def tell_what_is_too_small(names, job, partition):
    """Warn of a job that is predicted to need more than there is: it is submitted all the same."""
    what = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more side by side"
    if job.gpu_total_mb and job.gpu_memory_mb > job.gpu_total_mb:
        logger.warning(
            f"{what}: predicted to take {job.gpu_memory_mb:,} MB of GPU memory, of {job.gpu_total_mb:,}. "
            "A smaller recipe.micro_batch, or runtime.side_by_side, takes less."
        )
    if (limit := LIMITS.get(partition)) and job.minutes > limit:
        logger.warning(
            f"{what}: given the {limit:,} minutes that the partition {partition} allows, of {job.minutes:,} that it was to have. "
            "If it is not done then, it is submitted again; only a training goes on where it was."
        )
