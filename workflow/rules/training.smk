rule patriarch:
    input:
        reads("patriarch"),
    output:
        outputs("patriarch"),
    params:
        spec=spec("patriarch"),
        options=options("patriarch"),
    log:
        "logs/patriarch/{id}.log",
    benchmark:
        "benchmarks/patriarch/{id}.tsv"
    threads: training_threads("patriarch")
    resources:
        mem_mb=grows(4000),
        runtime=grows(720),
    conda:
        "../../environment.yml"
    shell:
        "python -m gendistill patriarch --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"


rule softlabels:
    input:
        reads("softlabels"),
    output:
        outputs("softlabels"),
    params:
        spec=spec("softlabels"),
    log:
        "logs/softlabels/{id}.log",
    benchmark:
        "benchmarks/softlabels/{id}.tsv"
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=grows(240),
    conda:
        "../../environment.yml"
    shell:
        "python -m gendistill softlabels --spec {params.spec:q} --threads {threads} 2> {log}"


rule generation:
    input:
        reads("generation"),
    output:
        outputs("generation"),
    params:
        spec=spec("generation"),
        options=options("generation"),
    log:
        "logs/generation/{id}.log",
    benchmark:
        "benchmarks/generation/{id}.tsv"
    threads: training_threads("generation")
    resources:
        mem_mb=grows(4000),
        runtime=grows(720),
    conda:
        "../../environment.yml"
    shell:
        "python -m gendistill generation --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"
