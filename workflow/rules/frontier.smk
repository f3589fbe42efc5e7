# Every setting of every method's sweep: learned and scored in one job each, gathered into the frontier.


# Trials are many and short: one job learns the stream and scores its end, which saves half of the start-up time.
TRIALS = alternatives(EXPERIMENT.runs.keys() - EXPERIMENT.methods.keys())
TUNING_SEEDS = EXPERIMENT.config["tuning"]["seeds"]
TUNING_END = EXPERIMENT.trial_end(TUNING_SEEDS[0])
FRONTIER_END = EXPERIMENT.trial_end(EXPERIMENT.frontier_seeds[0])


rule trial:
    input:
        start=start_files,
        counts=counts_file,
        contrast=contrast_file,
        texts=texts_file,
        contrast_texts=contrast_texts_file,
        stream="<results>/streams/seed-{seed}.jsonl",
        held_out=HELD_OUT_FILES.values(),
    output:
        facts="<results>/runs/{method}/seed-{seed}/learn/facts.jsonl",
        scores=f"<results>/runs/{{method}}/seed-{{seed}}/evaluate/position-{FRONTIER_END}.json",
    log:
        "<logs>/trial/{method}.seed-{seed}.log",
    benchmark:
        "<benchmarks>/trial/{method}.seed-{seed}.jsonl"
    wildcard_constraints:
        method=TRIALS,
        seed=alternatives(str(seed) for seed in EXPERIMENT.all_seeds if seed not in TUNING_SEEDS),
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
        resume_interval=EXPERIMENT.config["resume_interval"],
    params:
        method=lambda wildcards: EXPERIMENT.runs[wildcards.method],
        stream=EXPERIMENT.learning,
        evaluation=lambda wildcards: USER_FILES.with_tasks(EXPERIMENT.asking),
        probes=EXPERIMENT.probes,
        position=FRONTIER_END,
        max_length=EXPERIMENT.config["base"]["max_length"],
        whole_prompts=WHOLE_PROMPTS,
        device=EXPERIMENT.config["device"],
        code=lambda wildcards: code_of("trial.py", method_code(wildcards), *TASK_FILES),
    script:
        "../scripts/trial.py"


# Trials of tuning seeds may be shorter.
use rule trial as tuning_trial with:
    output:
        facts="<results>/runs/{method}/seed-{seed}/learn/facts.jsonl",
        scores=f"<results>/runs/{{method}}/seed-{{seed}}/evaluate/position-{TUNING_END}.json",
    log:
        "<logs>/tuning_trial/{method}.seed-{seed}.log",
    benchmark:
        "<benchmarks>/tuning_trial/{method}.seed-{seed}.jsonl"
    wildcard_constraints:
        method=TRIALS,
        seed=alternatives(map(str, TUNING_SEEDS)),
    params:
        method=lambda wildcards: EXPERIMENT.runs[wildcards.method],
        stream=EXPERIMENT.learning,
        evaluation=lambda wildcards: USER_FILES.with_tasks(EXPERIMENT.asking),
        probes=EXPERIMENT.probes,
        position=TUNING_END,
        max_length=EXPERIMENT.config["base"]["max_length"],
        whole_prompts=WHOLE_PROMPTS,
        device=EXPERIMENT.config["device"],
        code=lambda wildcards: code_of("trial.py", method_code(wildcards), *TASK_FILES),


use rule scores as frontier_scores with:
    input:
        scores=score_files(EXPERIMENT.trials, EXPERIMENT.frontier_seeds),
    output:
        table="<results>/tables/frontier_scores.csv",
    log:
        "<logs>/frontier_scores/frontier_scores.log",
    benchmark:
        "<benchmarks>/frontier_scores/frontier_scores.jsonl"


# The same settings on the tuning seeds: they choose a setting without looking at the frontier's seeds.
use rule scores as frontier_tuning_scores with:
    input:
        scores=score_files(EXPERIMENT.trials, EXPERIMENT.config["tuning"]["seeds"]),
    output:
        table="<results>/tables/frontier_tuning_scores.csv",
    log:
        "<logs>/frontier_tuning_scores/frontier_tuning_scores.log",
    benchmark:
        "<benchmarks>/frontier_tuning_scores/frontier_tuning_scores.jsonl"


rule frontier:
    input:
        scores="<results>/tables/frontier_scores.csv",
        tuning_scores="<results>/tables/frontier_tuning_scores.csv",
        facts=expand(
            "<results>/runs/{method}/seed-{seed}/learn/facts.jsonl",
            method=EXPERIMENT.trials,
            seed=EXPERIMENT.frontier_seeds,
        ),
    output:
        table="<results>/tables/frontier.csv",
        settings="<results>/tables/frontier_settings.csv",
        summary="<results>/tables/frontier_summary.csv",
        tests="<results>/tables/frontier_tests.csv",
    log:
        "<logs>/frontier/frontier.log",
    benchmark:
        "<benchmarks>/frontier/frontier.jsonl"
    conda:
        "../../environment.yml"
    params:
        trials={run: (trial.method, trial.setting) for run, trial in EXPERIMENT.trials.items()},
        seeds=EXPERIMENT.frontier_seeds,
        starts=EXPERIMENT.compared_starts,
        headline=EXPERIMENT.headline,
        learned=EXPERIMENT.config["evaluation"]["learned"],
        tuned_by=EXPERIMENT.tuned_by,
        max_forgetting=EXPERIMENT.config["frontier"]["max_forgetting"],
        code=code_of("frontier.py"),
    script:
        "../scripts/frontier.py"


rule plot_frontier:
    input:
        table="<results>/tables/frontier.csv",
        settings="<results>/tables/frontier_settings.csv",
        summary="<results>/tables/frontier_summary.csv",
        labels=LABELS_FILE,
    output:
        figures=[
            "<results>/figures/frontier.pdf",
            report(
                "<results>/figures/frontier.png",
                caption="../report/frontier.rst",
                category="3. Every setting",
                labels={"shows": "figure"},
            ),
        ],
    log:
        "<logs>/plot_frontier/plot_frontier.log",
    benchmark:
        "<benchmarks>/plot_frontier/plot_frontier.jsonl"
    conda:
        "../../environment.yml"
    params:
        shown={**SHOWN, "starts": EXPERIMENT.compared_starts},
        tuned_by=EXPERIMENT.tuned_by,
        learned=EXPERIMENT.config["evaluation"]["learned"],
        code=code_of("plot_frontier.py"),
    script:
        "../scripts/plot_frontier.py"
