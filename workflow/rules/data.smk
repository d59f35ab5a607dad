rule dataset:
    input:
        reads("dataset"),
    output:
        outputs("dataset"),
    log:
        "logs/dataset/{id}.log",
    benchmark:
        "benchmarks/dataset/{id}.tsv"
    conda:
        "../../environment.yml"
    # To pack a store is the work of all cores; to load a data set is not.
    threads: lambda wildcards: (threads_of("dataset")(wildcards) if step_of("dataset", wildcards).settings.get("store") else 1)
    resources:
        **resources_of("dataset"),
    params:
        spec=spec("dataset"),
    shell:
        "python -m gendistill dataset --spec {params.spec:q} --threads {threads} 2> {log}"
