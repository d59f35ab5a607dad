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


rule figure:
    input:
        reads("figure"),
    output:
        svg=report("runs/figure/{id}/figure.svg", caption="../report/figure.rst", category="Figures", labels=figure_labels("SVG")),
        pdf=report("runs/figure/{id}/figure.pdf", caption="../report/figure.rst", category="Figures", labels=figure_labels("PDF")),
        png=report("runs/figure/{id}/figure.png", caption="../report/figure.rst", category="Figures", labels=figure_labels("PNG")),
        receipt="runs/figure/{id}/receipt.json",
    log:
        "logs/figure/{id}.log",
    benchmark:
        "benchmarks/figure/{id}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **resources_of("figure"),
    params:
        spec=spec("figure"),
        caption=lambda wildcards: step_of("figure", wildcards).settings["caption"],
    shell:
        "python -m gendistill figure --spec {params.spec:q} --threads {threads} 2> {log}"


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
            expand("results/tables/{name}{end}", name=TABLE_NAMES + PAPER_NAMES, end=[".csv", "_runs.csv", ".md", ".tex"]),
            caption="../report/tables.rst",
            category="Tables",
        ),
        wide=report(
            expand("results/tables/{name}_wide.csv", name=PAPER_NAMES),
            caption="../report/tables.rst",
            category="Tables",
        ),
        claims=report(
            expand("results/tables/{name}.{kind}", name=CLAIMS_NAMES, kind=["csv", "md", "tex"]),
            caption="../report/claims.rst",
            category="Claims",
        ),
        macros="results/tables/macros.tex",
        # The steps' own files are those that Snakemake's report shows.
        figures=expand("results/figures/{name}.{kind}", name=FIGURE_NAMES, kind=["svg", "pdf", "png"]),
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
