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
    # To decode and encode all images of a store is more than an hour's work for one thread.
    threads: lambda wildcards: threads_of_data(step_of("dataset", wildcards))
    resources:
        **resources_of("dataset"),
    params:
        spec=spec("dataset"),
    shell:
        "python -m gendistill dataset --spec {params.spec:q} --threads {threads} 2> {log}"
