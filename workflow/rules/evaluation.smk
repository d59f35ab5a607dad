rule ensemble:
    input:
        reads("ensemble"),
    output:
        outputs("ensemble"),
    log:
        "logs/ensemble/{id}.log",
    benchmark:
        "benchmarks/ensemble/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        spec=spec("ensemble"),
    shell:
        "python -m gendistill ensemble --spec {params.spec:q} --threads {threads} 2> {log}"


rule transfer:
    input:
        reads("transfer"),
    output:
        outputs("transfer"),
    log:
        "logs/transfer/{id}.log",
    benchmark:
        "benchmarks/transfer/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        spec=spec("transfer"),
        options=options("transfer"),
    shell:
        "python -m gendistill transfer --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"


rule statistics:
    input:
        reads("statistics"),
    output:
        outputs("statistics"),
    log:
        "logs/statistics/{id}.log",
    benchmark:
        "benchmarks/statistics/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        spec=spec("statistics"),
        options=options("statistics"),
    shell:
        "python -m gendistill statistics --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"
