# With runtime.side_by_side, trainings that differ by their seed only are one job.
for NAME, STEPS in SIBLINGS.items():

    rule:
        name:
            NAME
        input:
            lambda wildcards, steps=STEPS: list(dict.fromkeys(path for step in steps for path in reads_of(step))),
        output:
            [path for step in STEPS for path in step.files],
        log:
            f"logs/siblings/{NAME}.log",
        benchmark:
            f"benchmarks/siblings/{NAME}.tsv"
        conda:
            "../../environment.yml"
        threads: sum(threads_of_step(step) for step in STEPS)
        resources:
            **resources_of_jobs(lambda wildcards, steps=STEPS: steps, NEEDS[STEPS[0].kind]),
        params:
            steps=lambda wildcards, name=NAME: siblings_file(name),
            options=lambda wildcards, threads, steps=STEPS: f"{options_of(steps[0])} --threads {max(threads // len(steps), 1)}",
        shell:
            "python -m gendistill siblings {params.steps} {params.options} 2> {log}"
