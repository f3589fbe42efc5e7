# Interpolation with the start model: what is left of learning and of forgetting part of the way back; not part of `all`.

INTERPOLATION = EXPERIMENT.config["interpolation"]
TRAINED = [name for name in EXPERIMENT.starts if not method_class(EXPERIMENT.runs[name]["kind"]).retrieves]
INTERPOLATED = INTERPOLATION["methods"] or TRAINED
INTERPOLATED_STARTS = {name: start for name, start in EXPERIMENT.starts.items() if name in INTERPOLATED}
INTERPOLATED_SEEDS = INTERPOLATION["seeds"] or EXPERIMENT.config["seeds"]
STREAM_END = EXPERIMENT.positions[-1]


rule interpolate:
    input:
        start=start_files,
        delta=f"<results>/runs/{{method}}/seed-{{seed}}/learn/position-{STREAM_END}.safetensors",
        stream="<results>/streams/seed-{seed}.jsonl",
        held_out=HELD_OUT_FILES.values(),
    output:
        scores=expand(
            "<results>/runs/{{method}}/seed-{{seed}}/interpolate/share-{share}.json",
            share=INTERPOLATION["shares"],
        ),
    log:
        "<logs>/interpolate/{method}.seed-{seed}.log",
    benchmark:
        "<benchmarks>/interpolate/{method}.seed-{seed}.jsonl"
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
        resume_interval=EXPERIMENT.config["resume_interval"],
    params:
        method=lambda wildcards: EXPERIMENT.runs[wildcards.method],
        evaluation=lambda wildcards: USER_FILES.with_tasks(EXPERIMENT.asking),
        probes=EXPERIMENT.probes,
        position=STREAM_END,
        shares=INTERPOLATION["shares"],
        device=EXPERIMENT.config["device"],
        code=lambda wildcards: code_of("interpolate.py", method_code(wildcards), *TASK_FILES),
    script:
        "../scripts/interpolate.py"


rule interpolation:
    input:
        start=expand(
            "<results>/{start}/evaluate/seed-{seed}.json",
            start=sorted({*INTERPOLATED_STARTS.values()}),
            seed=INTERPOLATED_SEEDS,
        ),
        between=expand(
            "<results>/runs/{method}/seed-{seed}/interpolate/share-{share}.json",
            method=INTERPOLATED_STARTS,
            seed=INTERPOLATED_SEEDS,
            share=INTERPOLATION["shares"],
        ),
        learned=expand(
            "<results>/runs/{method}/seed-{seed}/evaluate/position-{position}.json",
            method=INTERPOLATED_STARTS,
            seed=INTERPOLATED_SEEDS,
            position=STREAM_END,
        ),
    output:
        table="<results>/tables/interpolation.csv",
    log:
        "<logs>/interpolation/interpolation.log",
    benchmark:
        "<benchmarks>/interpolation/interpolation.jsonl"
    conda:
        "../../environment.yml"
    params:
        starts=INTERPOLATED_STARTS,
        code=code_of("interpolation.py"),
    script:
        "../scripts/interpolation.py"


rule plot_interpolation:
    input:
        table="<results>/tables/interpolation.csv",
        labels=LABELS_FILE,
    output:
        figures=[
            "<results>/figures/interpolation.pdf",
            report(
                "<results>/figures/interpolation.png",
                caption="../report/interpolation.rst",
                category="3. Every setting",
                labels={"shows": "part of the way back to the start model"},
            ),
        ],
    log:
        "<logs>/plot_interpolation/plot_interpolation.log",
    benchmark:
        "<benchmarks>/plot_interpolation/plot_interpolation.jsonl"
    conda:
        "../../environment.yml"
    params:
        shown=SHOWN,
        learned=EXPERIMENT.config["evaluation"]["learned"],
        code=code_of("plot_interpolation.py"),
    script:
        "../scripts/plot_interpolation.py"
