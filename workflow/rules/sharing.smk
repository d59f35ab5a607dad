# What is shared is fetched, never made again.
ruleorder: restore > dataset > text > patriarch > generation > softlabels > fine_tune > member
ruleorder: restore > language_patriarch > language_generation > language_softlabels


# Only for a finished step whose large files are not all here, but shared: their .dvc are there.
rule restore:
    input:
        shared_file,
    output:
        "runs/{kind}/{id}/{large}",
    log:
        "logs/restore/{kind}/{id}/{large}.log",
    wildcard_constraints:
        # Where there is nothing to fetch, the rule matches nothing, which saves Snakemake a third of its search.
        kind=r"\w+" if FETCHED else "nothing",
    localrule: True
    conda:
        "../../environment.yml"
    shell:
        "python -m gendistill restore {output} 2> {log}"


# Asked for by name: snakemake share.
rule share:
    log:
        "logs/share.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        # Without --config, results/ goes on to show what it shows.
        chosen=CHOSEN if config else "",
    shell:
        "python -m gendistill share {params.chosen} 2> {log}"
