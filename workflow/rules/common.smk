def step_of(rule_name, wildcards):
    """The step that a rule's wildcards name."""
    try:
        return PLAN.find(rule_name, wildcards.id)
    except UserError as error:
        raise WorkflowError(str(error))


def reads(rule_name):
    """Input function: the receipts and files that a step reads.

    All are ancient: a file that is there is up to date, because its path says everything that its content depends on. So what
    is there is left out, and with it all steps behind it, unless steps are forced or drawn.
    """

    def files(wildcards):
        step = step_of(rule_name, wildcards)
        # What is asked for by name may be finished: to fetch an input of it would make it again.
        if not any(takes_part(path) for path in step.files) and not workflow.dag_settings.forcetargets:
            return []
        return reads_of(step)

    return files


def reads_of(step):
    """The receipts and files that a step reads, as far as they take part in the run."""
    return [ancient(path) for path in step.reads if takes_part(path)]


def takes_part(path):
    """Whether the rule that makes a file takes part in the run. Where large files of a step are fetched, its own rule does not."""
    folder, _, file = path.rpartition("/")
    if file not in LARGE and is_fetched(folder.removeprefix("runs/")):
        return False
    return WHOLE or forced() or not Path(path).exists()


def forced():
    """What is to be made although it is finished: names of rules and files, or `all`."""
    return ["all"] if workflow.dag_settings.forceall else list(workflow.dag_settings.forcerun)


def is_fetched(name):
    """Whether the large files of a step are fetched where they are read: they are not here, but shared, and not forced."""
    ways = {"all", name.partition("/")[0]}
    return name in FETCHED and not any(way in ways or way.startswith(f"runs/{name}/") for way in forced())


def shared_file(wildcards):
    """Input function: what stands for a shared file; of other steps, what Snakemake may print as missing."""
    path = f"runs/{wildcards.kind}/{wildcards.id}/{wildcards.large}"
    return ancient(f"{path}.dvc" if is_fetched(f"{wildcards.kind}/{wildcards.id}") else f"{path} (which nobody shared)")


def spec(rule_name):
    """Params function: the step as canonical JSON, or `@` and the file that has it, where it is too long for a command."""

    def argument(wildcards):
        text = step_of(rule_name, wildcards).to_json()
        # Linux takes no argument of more than 128 KiB, and the shell command is one.
        if len(text) < 60_000:
            return text
        path = CACHE / "specs" / f"{wildcards.id}.json"
        write_bytes(path, text.encode())
        return f"@{path}"

    return argument


def options(rule_name):
    """Params function: the options of a step that change no result."""

    def text(wildcards):
        step = step_of(rule_name, wildcards)
        job = predicted((step.name,), 1) if PREDICTS else None
        return f"{options_of(step)}{f' --predicted {job.told}' if job else ''}"

    return text


def options_of(step):
    """The options of a step that change no result, but for its threads."""
    runtime = PLAN.runtime[step.name]
    return (
        f"--device {runtime['device']} --checkpoint-every {runtime['checkpoint_every']}"
        f"{' --tensorboard' if runtime['tensorboard'] else ''}"
        f"{' --cuda-graphs' if runtime['cuda_graphs'] else ''}"
        f"{f' --processes {processes_of(step)}' if processes_of(step) > 1 else ''}"
    )


def processes_of(step):
    """How many processes do a step together, each on a GPU of its own."""
    return PLAN.runtime[step.name]["processes"] if step.kind in SHARED_OUT else 1


def threads_of(rule_name):
    """Threads function: CPU threads of all processes of a step that computes with networks."""
    return lambda wildcards: threads_of_step(step_of(rule_name, wildcards))


def threads_of_step(step):
    """CPU threads of all processes of a step."""
    return PLAN.runtime[step.name]["threads"] * processes_of(step)


def outputs(rule_name):
    """The files that a step of a rule leaves."""
    return [f"runs/{rule_name}/{{id}}/{name}" for name in (*OUTPUTS[rule_name], "receipt.json")]


def figure_labels(file_format):
    """Labels function: how Snakemake's report names a file of a figure."""

    def labels(wildcards):
        settings = step_of("figure", wildcards).settings
        return {"study": settings["study"], "figure": settings["title"], "format": file_format}

    return labels


def ask_for_view():
    """A file newer than any report, of a content that Snakemake has not seen: it makes the report out of date."""
    wanted = Path(".snakemake", "gendistill", "wanted-view")
    wanted.parent.mkdir(parents=True, exist_ok=True)
    wanted.write_text(str(time.time_ns()))
    return wanted
