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


# The picture for a README: the stream's end, read in ten seconds.
rule plot_overview:
    input:
        scores="<results>/tables/scores.csv",
        labels=LABELS_FILE,
    output:
        figures=[
            "<results>/figures/overview.pdf",
            report(
                "<results>/figures/overview.png",
                caption="../report/overview.rst",
                category="1. What was learned, what was forgotten",
                labels={"shows": "the result at a glance"},
            ),
        ],
    log:
        "<logs>/plot_overview/plot_overview.log",
    benchmark:
        "<benchmarks>/plot_overview/plot_overview.jsonl"
    conda:
        "../../environment.yml"
    params:
        shown=SHOWN,
        methods=EXPERIMENT.labels,
        model=EXPERIMENT.model_name,
        learned=EXPERIMENT.config["evaluation"]["learned"],
        code=code_of("plot_overview.py"),
    script:
        "../scripts/plot_overview.py"


rule plot_forgetting:
    input:
        scores="<results>/tables/scores.csv",
        summary="<results>/tables/summary.csv",
        labels=LABELS_FILE,
    output:
        figures=[
            "<results>/figures/forgetting.pdf",
            report(
                "<results>/figures/forgetting.png",
                caption="../report/forgetting.rst",
                category="1. What was learned, what was forgotten",
                labels={"shows": "figure"},
            ),
        ],
        text=report(
            "<results>/tables/summary.txt",
            caption="../report/summary.rst",
            category="1. What was learned, what was forgotten",
            labels={"shows": "table, as a file"},
        ),
    log:
        "<logs>/plot_forgetting/plot_forgetting.log",
    benchmark:
        "<benchmarks>/plot_forgetting/plot_forgetting.jsonl"
    conda:
        "../../environment.yml"
    params:
        shown=SHOWN,
        methods=EXPERIMENT.labels,
        untuned=EXPERIMENT.untuned,
        rate_free=EXPERIMENT.rate_free,
        tuned_by=EXPERIMENT.tuned_by,
        learned=EXPERIMENT.config["evaluation"]["learned"],
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
        table=report(
            "<results>/tables/tuning.csv",
            caption="../report/tuning_table.rst",
            category="2. How settings were chosen",
            labels={"shows": "table, as a file"},
        ),
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
        tuned_by=EXPERIMENT.tuned_by,
        code=code_of("tuning.py"),
    script:
        "../scripts/tuning.py"


rule plot_tuning:
    input:
        tuning="<results>/tables/tuning.csv",
        labels=LABELS_FILE,
    output:
        figures=[
            "<results>/figures/tuning.pdf",
            report(
                "<results>/figures/tuning.png",
                caption="../report/tuning.rst",
                category="2. How settings were chosen",
                labels={"shows": "figure"},
            ),
        ],
    log:
        "<logs>/plot_tuning/plot_tuning.log",
    benchmark:
        "<benchmarks>/plot_tuning/plot_tuning.jsonl"
    conda:
        "../../environment.yml"
    params:
        shown=SHOWN,
        tuned_by=EXPERIMENT.tuned_by,
        learned=EXPERIMENT.config["evaluation"]["learned"],
        code=code_of("plot_tuning.py"),
    script:
        "../scripts/plot_tuning.py"


# For methods that record which slots they wrote; the others change weights outside the slots.
rule slot_writes:
    input:
        counts="<results>/background/counts.safetensors",
        patches=MEMORY_PATCHES,
    output:
        table="<results>/tables/slot_writes.csv",
    log:
        "<logs>/slot_writes/slot_writes.log",
    benchmark:
        "<benchmarks>/slot_writes/slot_writes.jsonl"
    conda:
        "../../environment.yml"
    params:
        runs=MEMORY_RUNS,
        code=code_of("slot_writes.py"),
    script:
        "../scripts/slot_writes.py"


rule plot_slot_writes:
    input:
        table="<results>/tables/slot_writes.csv",
        labels=LABELS_FILE,
    output:
        figures=[
            "<results>/figures/slot_writes.pdf",
            report(
                "<results>/figures/slot_writes.png",
                caption="../report/slot_writes.rst",
                category="4. Where facts are written",
                labels={"shows": "what the streams wrote"},
            ),
        ],
    log:
        "<logs>/plot_slot_writes/plot_slot_writes.log",
    benchmark:
        "<benchmarks>/plot_slot_writes/plot_slot_writes.jsonl"
    conda:
        "../../environment.yml"
    params:
        methods=list(EXPERIMENT.starts),
        code=code_of("plot_slot_writes.py"),
    script:
        "../scripts/plot_slot_writes.py"


# The cost of the jobs so far. Benchmarks are not outputs of jobs, so ask for it when the rest is done.
rule compute:
    input:
        scores="<results>/tables/scores.csv",
    output:
        table=report(
            "<results>/tables/compute.csv",
            caption="../report/compute.rst",
            category="5. What it cost",
            labels={"shows": "table, as a file"},
        ),
    log:
        "<logs>/compute/compute.log",
    conda:
        "../../environment.yml"
    params:
        benchmarks=f"{KEPT}/benchmarks",
        logs=f"{KEPT}/logs",
        code=code_of("compute.py"),
    script:
        "../scripts/compute.py"
