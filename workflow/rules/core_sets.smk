# Core sets: the slots that a fact's texts share, and how few trained slots are enough to answer it; not part of `all`.


rule core_sets:
    input:
        healed=expand("<results>/healed/{file}", file=MODEL_FILES),
        counts="<results>/background/counts.safetensors",
        contrast=only_if(
            any(map(weighs_contrast, EXPERIMENT.memory_methods)),
            "<results>/background/contrast.safetensors",
        ),
        stream=core_set_stream,
    output:
        table="<results>/tables/core_sets.csv",
    log:
        "<logs>/core_sets/core_sets.log",
    benchmark:
        "<benchmarks>/core_sets/core_sets.jsonl"
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
    params:
        core_sets=core_set_settings,
        methods=EXPERIMENT.memory_methods,
        stream=EXPERIMENT.learning,
        max_length=EXPERIMENT.config["base"]["max_length"],
        whole_prompts=WHOLE_PROMPTS,
        device=EXPERIMENT.config["device"],
        code=code_of("core_sets.py"),
    script:
        "../scripts/core_sets.py"


rule plot_core_sets:
    input:
        table="<results>/tables/core_sets.csv",
        labels=LABELS_FILE,
    output:
        figures=[
            "<results>/figures/core_sets.pdf",
            report(
                "<results>/figures/core_sets.png",
                caption="../report/core_sets.rst",
                category="4. Where facts are written",
                labels={"shows": "what a fact needs"},
            ),
        ],
    log:
        "<logs>/plot_core_sets/plot_core_sets.log",
    benchmark:
        "<benchmarks>/plot_core_sets/plot_core_sets.jsonl"
    conda:
        "../../environment.yml"
    params:
        core_sets=core_set_settings,
        methods=list(EXPERIMENT.starts),
        code=code_of("plot_core_sets.py"),
    script:
        "../scripts/plot_core_sets.py"
