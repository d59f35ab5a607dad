rule dataset:
    input:
        reads("dataset"),
    output:
        outputs("dataset"),
    params:
        spec=spec("dataset"),
    log:
        "logs/dataset/{id}.log",
    benchmark:
        "benchmarks/dataset/{id}.tsv"
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    conda:
        "../../environment.yml"
    shell:
        "python -m gendistill dataset --spec {params.spec:q} --threads {threads} 2> {log}"
