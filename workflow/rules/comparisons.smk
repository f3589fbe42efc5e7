# Methods against each other: tests of every pair, the cost of a fact, the rows of the leaderboard, and what predicts
# forgetting. Made only if asked for; `smf leaderboard` makes a page of the rows of several experiments.

ENDS = [(method, seed) for method in EXPERIMENT.starts for seed in EXPERIMENT.config["seeds"]]


rule pairs:
    input:
        scores="<results>/tables/scores.csv",
    output:
        table="<results>/tables/pairs.csv",
    log:
        "<logs>/pairs/pairs.log",
    benchmark:
        "<benchmarks>/pairs/pairs.jsonl"
    conda:
        "../../environment.yml"
    params:
        starts=EXPERIMENT.starts,
        headline=EXPERIMENT.headline,
        learned=EXPERIMENT.config["evaluation"]["learned"],
        code=code_of("pairs.py"),
    script:
        "../scripts/pairs.py"


rule costs:
    input:
        facts=[f"<results>/runs/{method}/seed-{seed}/learn/facts.jsonl" for method, seed in ENDS],
        deltas=[
            f"<results>/runs/{method}/seed-{seed}/learn/position-{EXPERIMENT.positions[-1]}.safetensors"
            for method, seed in ENDS
        ],
    output:
        table="<results>/tables/costs.csv",
    log:
        "<logs>/costs/costs.log",
    benchmark:
        "<benchmarks>/costs/costs.jsonl"
    conda:
        "../../environment.yml"
    params:
        runs=ENDS,
        code=code_of("costs.py"),
    script:
        "../scripts/costs.py"


rule leaderboard:
    input:
        scores="<results>/tables/scores.csv",
        costs="<results>/tables/costs.csv",
    output:
        table="<results>/tables/leaderboard.csv",
    log:
        "<logs>/leaderboard/leaderboard.log",
    benchmark:
        "<benchmarks>/leaderboard/leaderboard.jsonl"
    conda:
        "../../environment.yml"
    params:
        starts=EXPERIMENT.starts,
        about={
            "results": EXPERIMENT.config["results"],
            "model": EXPERIMENT.model_name or "pretrained here",
            "labels": EXPERIMENT.labels,
            "kinds": EXPERIMENT.kinds,
            "options": command_options(),
        },
        code=code_of("leaderboard.py"),
    script:
        "../scripts/leaderboard.py"


rule predictors:
    input:
        scores="<results>/tables/scores.csv",
        counts="<results>/background/counts.safetensors",
        # counted for the methods that weigh it
        contrast=only_if(any(map(weighs_contrast, EXPERIMENT.starts)), "<results>/background/contrast.safetensors"),
        patches=MEMORY_PATCHES,
    output:
        table="<results>/tables/predictors.csv",
        correlations="<results>/tables/predictors_correlations.csv",
    log:
        "<logs>/predictors/predictors.log",
    benchmark:
        "<benchmarks>/predictors/predictors.jsonl"
    conda:
        "../../environment.yml"
    params:
        runs=MEMORY_RUNS,
        others=[
            (name, seed)
            for name in EXPERIMENT.starts
            for seed in EXPERIMENT.config["seeds"]
            if (name, seed) not in MEMORY_RUNS
        ],
        starts=EXPERIMENT.starts,
        headline=EXPERIMENT.headline,
        code=code_of("predictors.py"),
    script:
        "../scripts/predictors.py"


rule plot_predictors:
    input:
        table="<results>/tables/predictors.csv",
        labels=LABELS_FILE,
    output:
        figures=[
            "<results>/figures/predictors.pdf",
            report(
                "<results>/figures/predictors.png",
                caption="../report/predictors.rst",
                category="4. Where facts are written",
                labels={"shows": "what predicts forgetting"},
            ),
        ],
    log:
        "<logs>/plot_predictors/plot_predictors.log",
    benchmark:
        "<benchmarks>/plot_predictors/plot_predictors.jsonl"
    conda:
        "../../environment.yml"
    params:
        shown=SHOWN,
        code=code_of("plot_predictors.py"),
    script:
        "../scripts/plot_predictors.py"
