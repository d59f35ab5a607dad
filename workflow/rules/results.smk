rule tables:
    input:
        reads("tables"),
    output:
        outputs("tables"),
    log:
        "logs/tables/{id}.log",
    benchmark:
        "benchmarks/tables/{id}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **resources_of("tables"),
    params:
        spec=spec("tables"),
    shell:
        "python -m gendistill tables --spec {params.spec:q} --threads {threads} 2> {log}"


rule paper_table:
    input:
        reads("paper_table"),
    output:
        outputs("paper_table"),
    log:
        "logs/paper_table/{id}.log",
    benchmark:
        "benchmarks/paper_table/{id}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **resources_of("paper_table"),
    params:
        spec=spec("paper_table"),
    shell:
        "python -m gendistill paper_table --spec {params.spec:q} --threads {threads} 2> {log}"


rule claims:
    input:
        reads("claims"),
    output:
        outputs("claims"),
    log:
        "logs/claims/{id}.log",
    benchmark:
        "benchmarks/claims/{id}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **resources_of("claims"),
    params:
        spec=spec("claims"),
    shell:
        "python -m gendistill claims --spec {params.spec:q} --threads {threads} 2> {log}"


# results/view.json says which results the folder shows. Where it names others, the report is out of date.
rule report:
    input:
        view=[] if view_is_current(PLAN) else ask_for_view(),
        tables=[ancient(path) for kind in SHOWN for step in PLAN.of_kind(kind) for path in step.files],
    output:
        page=report("results/report.html", caption="../report/report.rst", category="Report"),
        index="results/index.json",
        metrics="results/metrics.json",
        params="results/params.yaml",
        artifacts="results/dvc.yaml",
        generations="results/generations.csv",
        tables=report(
            expand("results/tables/{name}.{kind}", name=TABLE_NAMES, kind=["csv", "md"]),
            caption="../report/tables.rst",
            category="Tables",
        ),
        figures=report(
            expand(
                "results/figures/{experiment}_error_by_generation.{kind}",
                experiment=[step.settings["experiment"] for step in PLAN.of_kind("tables")],
                kind=["svg", "png"],
            ),
            caption="../report/figures.rst",
            category="Figures",
        ),
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/report.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **resources_of("report"),
    params:
        view=view_id(PLAN),
        chosen=lambda wildcards: CHOSEN,
    shell:
        "python -m gendistill report {params.chosen} --view {params.view} 2> {log}"
