# What each choice of slots reaches before anything is learned: needs the memory model and counts alone; not part of `all`.


rule read_overlap:
    input:
        healed=expand("<results>/healed/{file}", file=MODEL_FILES),
        counts="<results>/background/counts.safetensors",
        contrast=only_if(any(map(weighs_contrast, EXPERIMENT.selecting)), "<results>/background/contrast.safetensors"),
        streams=expand("<results>/streams/seed-{seed}.jsonl", seed=EXPERIMENT.config["seeds"]),
    output:
        table="<results>/tables/read_overlap.csv",
    log:
        "<logs>/read_overlap/read_overlap.log",
    benchmark:
        "<benchmarks>/read_overlap/read_overlap.jsonl"
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
    params:
        runs=overlap_runs,
        seeds=EXPERIMENT.config["seeds"],
        stream=EXPERIMENT.learning,
        max_length=EXPERIMENT.config["base"]["max_length"],
        whole_prompts=WHOLE_PROMPTS,
        device=EXPERIMENT.config["device"],
        code=code_of("read_overlap.py"),
    script:
        "../scripts/read_overlap.py"


rule plot_read_overlap:
    input:
        table="<results>/tables/read_overlap.csv",
        labels=LABELS_FILE,
    output:
        figures=[
            "<results>/figures/read_overlap.pdf",
            report(
                "<results>/figures/read_overlap.png",
                caption="../report/read_overlap.rst",
                category="4. Where facts are written",
                labels={"shows": "what a choice of slots reaches"},
            ),
        ],
    log:
        "<logs>/plot_read_overlap/plot_read_overlap.log",
    benchmark:
        "<benchmarks>/plot_read_overlap/plot_read_overlap.jsonl"
    conda:
        "../../environment.yml"
    params:
        methods=list(EXPERIMENT.methods),
        code=code_of("plot_read_overlap.py"),
    script:
        "../scripts/plot_read_overlap.py"
