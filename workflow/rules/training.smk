rule patriarch:
    input:
        reads("patriarch"),
    output:
        outputs("patriarch"),
    log:
        "logs/patriarch/{id}.log",
    benchmark:
        "benchmarks/patriarch/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of("patriarch")
    resources:
        **resources_of("patriarch"),
    params:
        spec=spec("patriarch"),
        options=options("patriarch"),
    shell:
        "python -m gendistill patriarch --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"


rule softlabels:
    input:
        reads("softlabels"),
    output:
        outputs("softlabels"),
    log:
        "logs/softlabels/{id}.log",
    benchmark:
        "benchmarks/softlabels/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of("softlabels")
    resources:
        **resources_of("softlabels"),
    params:
        spec=spec("softlabels"),
        options=options("softlabels"),
    shell:
        "python -m gendistill softlabels --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"


rule generation:
    input:
        reads("generation"),
    output:
        outputs("generation"),
    log:
        "logs/generation/{id}.log",
    benchmark:
        "benchmarks/generation/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of("generation")
    resources:
        **resources_of("generation"),
    params:
        spec=spec("generation"),
        options=options("generation"),
    shell:
        "python -m gendistill generation --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"


rule member:
    input:
        reads("member"),
    output:
        outputs("member"),
    log:
        "logs/member/{id}.log",
    benchmark:
        "benchmarks/member/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of("member")
    resources:
        **resources_of("member"),
    params:
        spec=spec("member"),
        options=options("member"),
    shell:
        "python -m gendistill member --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"
