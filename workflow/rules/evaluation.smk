rule ensemble:
    input:
        reads("ensemble"),
    output:
        outputs("ensemble"),
    params:
        spec=spec("ensemble"),
    log:
        "logs/ensemble/{id}.log",
    benchmark:
        "benchmarks/ensemble/{id}.tsv"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    conda:
        "../../environment.yml"
    shell:
        "python -m gendistill ensemble --spec {params.spec:q} --threads {threads} 2> {log}"


rule transfer:
    input:
        reads("transfer"),
    output:
        outputs("transfer"),
    params:
        spec=spec("transfer"),
    log:
        "logs/transfer/{id}.log",
    benchmark:
        "benchmarks/transfer/{id}.tsv"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    conda:
        "../../environment.yml"
    shell:
        "python -m gendistill transfer --spec {params.spec:q} --threads {threads} 2> {log}"


rule statistics:
    input:
        reads("statistics"),
    output:
        outputs("statistics"),
    params:
        spec=spec("statistics"),
    log:
        "logs/statistics/{id}.log",
    benchmark:
        "benchmarks/statistics/{id}.tsv"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    conda:
        "../../environment.yml"
    shell:
        "python -m gendistill statistics --spec {params.spec:q} --threads {threads} 2> {log}"
