rule text:
    input:
        reads("text"),
    output:
        outputs("text"),
    log:
        "logs/text/{id}.log",
    benchmark:
        "benchmarks/text/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **resources_of("text"),
    params:
        spec=spec("text"),
    shell:
        "python -m gendistill text --spec {params.spec:q} --threads {threads} 2> {log}"


rule language_patriarch:
    input:
        reads("language_patriarch"),
    output:
        outputs("language_patriarch"),
    log:
        "logs/language_patriarch/{id}.log",
    benchmark:
        "benchmarks/language_patriarch/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of("language_patriarch")
    resources:
        **resources_of("language_patriarch"),
    params:
        spec=spec("language_patriarch"),
        options=options("language_patriarch"),
    shell:
        "python -m gendistill language_patriarch --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"


rule language_softlabels:
    input:
        reads("language_softlabels"),
    output:
        outputs("language_softlabels"),
    log:
        "logs/language_softlabels/{id}.log",
    benchmark:
        "benchmarks/language_softlabels/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of("language_softlabels")
    resources:
        **resources_of("language_softlabels"),
    params:
        spec=spec("language_softlabels"),
        options=options("language_softlabels"),
    shell:
        "python -m gendistill language_softlabels --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"


rule language_generation:
    input:
        reads("language_generation"),
    output:
        outputs("language_generation"),
    log:
        "logs/language_generation/{id}.log",
    benchmark:
        "benchmarks/language_generation/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of("language_generation")
    resources:
        **resources_of("language_generation"),
    params:
        spec=spec("language_generation"),
        options=options("language_generation"),
    shell:
        "python -m gendistill language_generation --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"
