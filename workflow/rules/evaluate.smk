# Scores of a run's snapshots, and of the models that runs start from.


rule evaluate:
    input:
        start=start_files,
        deltas=rules.learn.output.deltas,
        stream="<results>/streams/seed-{seed}.jsonl",
        held_out=HELD_OUT_FILES.values(),
    output:
        scores=expand(
            "<results>/runs/{{method}}/seed-{{seed}}/evaluate/position-{position}.json",
            position=EXPERIMENT.positions,
        ),
    log:
        "<logs>/evaluate/{method}.seed-{seed}.log",
    benchmark:
        "<benchmarks>/evaluate/{method}.seed-{seed}.jsonl"
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
        resume_interval=EXPERIMENT.config["resume_interval"],
    params:
        method=lambda wildcards: EXPERIMENT.runs[wildcards.method],
        evaluation=lambda wildcards: USER_FILES.with_tasks(EXPERIMENT.asking),
        probes=EXPERIMENT.probes,
        positions=EXPERIMENT.positions,
        device=EXPERIMENT.config["device"],
        code=lambda wildcards: code_of("evaluate.py", method_code(wildcards), *TASK_FILES),
    script:
        "../scripts/evaluate.py"


rule evaluate_held_out:
    input:
        model=expand("<results>/{{start}}/{file}", file=MODEL_FILES),
        compared_with=expand("<results>/base/{file}", file=MODEL_FILES if "kl_texts" in EXPERIMENT.asking else []),
        held_out=HELD_OUT_FILES.values(),
    output:
        scores="<results>/{start}/evaluate/held_out.json",
    log:
        "<logs>/evaluate_held_out/{start}.log",
    benchmark:
        "<benchmarks>/evaluate_held_out/{start}.jsonl"
    wildcard_constraints:
        start="base|healed",
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
        resume_interval=EXPERIMENT.config["resume_interval"],
    params:
        evaluation=lambda wildcards: USER_FILES.with_tasks(EXPERIMENT.asking_held_out),
        probes=EXPERIMENT.probes,
        device=EXPERIMENT.config["device"],
        code=code_of("evaluate_held_out.py", *TASK_FILES),
    script:
        "../scripts/evaluate_held_out.py"


rule evaluate_start:
    input:
        base=expand("<results>/base/{file}", file=MODEL_FILES),
        healed=expand("<results>/healed/{file}", file=MODEL_FILES),
        stream="<results>/streams/seed-{seed}.jsonl",
        held_out=expand("<results>/{start}/evaluate/held_out.json", start=["base", "healed"]),
    output:
        base="<results>/base/evaluate/seed-{seed}.json",
        healed="<results>/healed/evaluate/seed-{seed}.json",
    log:
        "<logs>/evaluate_start/seed-{seed}.log",
    benchmark:
        "<benchmarks>/evaluate_start/seed-{seed}.jsonl"
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
        resume_interval=EXPERIMENT.config["resume_interval"],
    params:
        evaluation=EXPERIMENT.asking_facts,
        device=EXPERIMENT.config["device"],
        code=code_of("evaluate_start.py", *TASK_FILES),
    script:
        "../scripts/evaluate_start.py"
