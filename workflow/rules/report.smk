# Tables from scores, figures from tables.


rule scores:
    input:
        scores=score_files(EXPERIMENT.starts, EXPERIMENT.config["seeds"]),
    output:
        table="<results>/tables/scores.csv",
    log:
        "<logs>/scores/scores.log",
    benchmark:
        "<benchmarks>/scores/scores.jsonl"
    conda:
        "../../environment.yml"
    params:
        code=code_of("scores.py"),
    script:
        "../scripts/scores.py"


rule summary:
    input:
        scores="<results>/tables/scores.csv",
    output:
        table="<results>/tables/summary.csv",
    log:
        "<logs>/summary/summary.log",
    benchmark:
        "<benchmarks>/summary/summary.jsonl"
    conda:
        "../../environment.yml"
    params:
        starts=EXPERIMENT.starts,
        kinds=EXPERIMENT.probes,
        code=code_of("summary.py"),
    script:
        "../scripts/summary.py"


rule plot_forgetting:
    input:
        scores="<results>/tables/scores.csv",
        summary="<results>/tables/summary.csv",
        labels="<results>/data/labels.json",
    output:
        figures=report(
            multiext("<results>/figures/forgetting", ".pdf", ".png"),
            caption="../report/forgetting.rst",
            category="Figures",
        ),
        text=report("<results>/tables/summary.txt", caption="../report/summary.rst", category="Tables"),
    log:
        "<logs>/plot_forgetting/plot_forgetting.log",
    benchmark:
        "<benchmarks>/plot_forgetting/plot_forgetting.jsonl"
    conda:
        "../../environment.yml"
    params:
        starts=EXPERIMENT.starts,
        methods=EXPERIMENT.labels,
        untuned=EXPERIMENT.untuned,
        asked=EXPERIMENT.config["evaluation"]["num_items"],
        headline=EXPERIMENT.headline,
        learned=EXPERIMENT.config["evaluation"]["learned"],
        kinds=EXPERIMENT.kinds,
        code=code_of("plot_forgetting.py"),
    script:
        "../scripts/plot_forgetting.py"


use rule scores as tuning_scores with:
    input:
        scores=score_files(EXPERIMENT.sweep, EXPERIMENT.config["tuning"]["seeds"]),
    output:
        table="<results>/tables/tuning_scores.csv",
    log:
        "<logs>/tuning_scores/tuning_scores.log",
    benchmark:
        "<benchmarks>/tuning_scores/tuning_scores.jsonl"


rule tuning:
    input:
        scores="<results>/tables/tuning_scores.csv",
    output:
        table=report("<results>/tables/tuning.csv", caption="../report/tuning_table.rst", category="Tables"),
    log:
        "<logs>/tuning/tuning.log",
    benchmark:
        "<benchmarks>/tuning/tuning.jsonl"
    conda:
        "../../environment.yml"
    params:
        runs=EXPERIMENT.sweep,
        starts=EXPERIMENT.starts,
        rates=EXPERIMENT.rates,
        headline=EXPERIMENT.headline,
        learned=EXPERIMENT.config["evaluation"]["learned"],
        code=code_of("tuning.py"),
    script:
        "../scripts/tuning.py"


rule plot_tuning:
    input:
        tuning="<results>/tables/tuning.csv",
        labels="<results>/data/labels.json",
    output:
        figures=report(
            multiext("<results>/figures/tuning", ".pdf", ".png"),
            caption="../report/tuning.rst",
            category="Figures",
        ),
    log:
        "<logs>/plot_tuning/plot_tuning.log",
    benchmark:
        "<benchmarks>/plot_tuning/plot_tuning.jsonl"
    conda:
        "../../environment.yml"
    params:
        starts=EXPERIMENT.starts,
        asked=EXPERIMENT.config["evaluation"]["num_items"],
        headline=EXPERIMENT.headline,
        kinds=EXPERIMENT.kinds,
        code=code_of("plot_tuning.py"),
    script:
        "../scripts/plot_tuning.py"


# What the jobs so far have cost. Benchmarks are no outputs of jobs, so ask for it when the rest is done.
rule compute:
    input:
        scores="<results>/tables/scores.csv",
    output:
        table=report("<results>/tables/compute.csv", caption="../report/compute.rst", category="Tables"),
    log:
        "<logs>/compute/compute.log",
    conda:
        "../../environment.yml"
    params:
        benchmarks=f"{EXPERIMENT.config['results']}/benchmarks",
        code=code_of("compute.py"),
    script:
        "../scripts/compute.py"
