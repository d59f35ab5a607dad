rule ensemble:
    input:
        reads("ensemble"),
    output:
        outputs("ensemble"),
    log:
        "logs/ensemble/{id}.log",
    benchmark:
        "benchmarks/ensemble/{id}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **resources_of("ensemble"),
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
        **resources_of("transfer"),
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
        **resources_of("statistics"),
    params:
        spec=spec("statistics"),
        options=options("statistics"),
    shell:
        "python -m gendistill statistics --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"


rule agreement:
    input:
        reads("agreement"),
    output:
        outputs("agreement"),
    log:
        "logs/agreement/{id}.log",
    benchmark:
        "benchmarks/agreement/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of("agreement")
    resources:
        **resources_of("agreement"),
    params:
        spec=spec("agreement"),
        options=options("agreement"),
    shell:
        "python -m gendistill agreement --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"


rule class_structure:
    input:
        reads("class_structure"),
    output:
        outputs("class_structure"),
    log:
        "logs/class_structure/{id}.log",
    benchmark:
        "benchmarks/class_structure/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of("class_structure")
    resources:
        **resources_of("class_structure"),
    params:
        spec=spec("class_structure"),
        options=options("class_structure"),
    shell:
        "python -m gendistill class_structure --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"


rule early_exit:
    input:
        reads("early_exit"),
    output:
        outputs("early_exit"),
    log:
        "logs/early_exit/{id}.log",
    benchmark:
        "benchmarks/early_exit/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of("early_exit")
    resources:
        **resources_of("early_exit"),
    params:
        spec=spec("early_exit"),
        options=options("early_exit"),
    shell:
        "python -m gendistill early_exit --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"


rule fine_tune:
    input:
        reads("fine_tune"),
    output:
        outputs("fine_tune"),
    log:
        "logs/fine_tune/{id}.log",
    benchmark:
        "benchmarks/fine_tune/{id}.tsv"
    conda:
        "../../environment.yml"
    threads: threads_of("fine_tune")
    resources:
        **resources_of("fine_tune"),
    params:
        spec=spec("fine_tune"),
        options=options("fine_tune"),
    shell:
        "python -m gendistill fine_tune --spec {params.spec:q} {params.options} --threads {threads} 2> {log}"
