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
    threads: 1
    resources:
        **resources_of("dataset"),
    params:
        spec=spec("dataset"),
    shell:
        "python -m gendistill dataset --spec {params.spec:q} --threads {threads} 2> {log}"
