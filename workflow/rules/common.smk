def step_of(rule_name, wildcards):
    """The step that a rule's wildcards name."""
    try:
        return PLAN.find(rule_name, wildcards.id)
    except UserError as error:
        raise WorkflowError(str(error))


def reads(rule_name):
    """Input function: the receipts and files that a step reads.

    All are ancient: a file that is there is up to date, because its path says everything that its content depends on.
    """
    return lambda wildcards: [ancient(path) for path in step_of(rule_name, wildcards).reads if not is_at_hand(path)]


@functools.cache
def is_fetched(name):
    """Whether large files of the step `kind/id` are to be fetched: then the rule of the step has no part in the run."""
    recompute = not PLAN.runtime.get(name, {}).get("restore_soft_labels", True)
    return is_to_be_restored(Path("runs", name)) and not (recompute and "softlabels" in name.split("/")[0])


def is_at_hand(path):
    """Whether a file is the receipt of a step whose large files are fetched. Only its own rule makes a receipt."""
    folder, _, file = path.rpartition("/")
    return file == "receipt.json" and is_fetched(folder.removeprefix("runs/"))


def shared_file(wildcards):
    """Input function: what stands for a shared file; of a step that is here, or is to be made, a path that is not there."""
    path = f"runs/{wildcards.kind}/{wildcards.id}/{wildcards.large}"
    return ancient(f"{path}.dvc" if is_fetched(f"{wildcards.kind}/{wildcards.id}") else f"{path}.not-fetched")


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
    wanted.write_text(str(time.time_ns()))
    return wanted
