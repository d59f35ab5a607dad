def step_of(rule_name, wildcards):
    """The step that a rule's wildcards name."""
    try:
        return PLAN.find(rule_name, wildcards.id)
    except UserError as error:
        raise WorkflowError(str(error))


def reads(rule_name):
    """Input function: the receipts and files of the steps that a step reads.

    All are ancient: a file that is there is up to date, because its path says everything that its content depends on.
    """
    return lambda wildcards: [
        ancient(path) for parent in step_of(rule_name, wildcards).parents for path in PLAN.steps[parent].files
    ]


def spec(rule_name):
    """Params function: the step as canonical JSON."""
    return lambda wildcards: step_of(rule_name, wildcards).to_json()


def runtime(rule_name, wildcards, name):
    """A setting of `runtime`, which changes no result."""
    return PLAN.runtime[step_of(rule_name, wildcards).name][name]


def options(rule_name):
    """Params function: the options of a step that change no result."""
    return (
        lambda wildcards: f"--device {runtime(rule_name, wildcards, 'device')}"
        f" --checkpoint-every {runtime(rule_name, wildcards, 'checkpoint_every')}"
    )


def threads_of(rule_name):
    """Threads function: CPU threads of a step that computes with networks."""
    return lambda wildcards: runtime(rule_name, wildcards, "threads")


def outputs(rule_name):
    """The files that a step of a rule leaves."""
    return [f"runs/{rule_name}/{{id}}/{name}" for name in (*OUTPUTS[rule_name], "receipt.json")]


def grows(amount):
    """Resources function: more with each attempt."""
    return lambda wildcards, attempt: amount * attempt


def ask_for_view():
    """A file newer than any report, of a content that Snakemake has not seen: it makes the report out of date."""
    wanted = Path(".snakemake", "gendistill", "wanted-view")
    wanted.parent.mkdir(parents=True, exist_ok=True)
    wanted.write_text(f"{PLAN.view_id} {time.time_ns()}")
    return wanted
