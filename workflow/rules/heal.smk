# The memory model and the slots that ordinary text reads: counts for the methods, a table and a figure for the reader.


# The script checks max_loss_rise when the model is healed, but it is not a param: another limit heals nothing again.
rule heal:
    input:
        base=expand("<results>/base/{file}", file=MODEL_FILES),
        healing="<results>/data/healing.jsonl",
    output:
        model=expand("<results>/healed/{file}", file=MEMORY_MODEL_FILES),
        report="<results>/healed/report.json",
    log:
        "<logs>/heal/heal.log",
        report="<logs>/heal/report.json",
    benchmark:
        "<benchmarks>/heal/heal.jsonl"
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
        resume_interval=EXPERIMENT.config["resume_interval"],
    params:
        memory=EXPERIMENT.config["memory"],
        healing={key: value for key, value in EXPERIMENT.config["healing"].items() if key != "max_loss_rise"},
        max_length=EXPERIMENT.config["base"]["max_length"],
        device=EXPERIMENT.config["device"],
        code=code_of("heal.py"),
    script:
        "../scripts/heal.py"


rule count_background:
    input:
        healed=expand("<results>/healed/{file}", file=MODEL_FILES),
        background="<results>/data/background.jsonl",
    output:
        counts="<results>/background/counts.safetensors",
    log:
        "<logs>/count_background/count_background.log",
    benchmark:
        "<benchmarks>/count_background/count_background.jsonl"
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
        resume_interval=EXPERIMENT.config["resume_interval"],
    params:
        background=EXPERIMENT.config["background"],
        max_length=EXPERIMENT.config["base"]["max_length"],
        device=EXPERIMENT.config["device"],
        code=code_of("count_background.py"),
    script:
        "../scripts/count_background.py"


rule count_contrast:
    input:
        healed=expand("<results>/healed/{file}", file=MODEL_FILES),
        counts="<results>/background/counts.safetensors",
        contrast="<results>/data/contrast.jsonl",
    output:
        counts="<results>/background/contrast.safetensors",
    log:
        "<logs>/count_contrast/count_contrast.log",
    benchmark:
        "<benchmarks>/count_contrast/count_contrast.jsonl"
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
        resume_interval=EXPERIMENT.config["resume_interval"],
    params:
        seed=EXPERIMENT.config["background"]["seed"],
        max_length=EXPERIMENT.config["base"]["max_length"],
        examples_share=EXPERIMENT.config["stream"]["behind_examples"],
        device=EXPERIMENT.config["device"],
        code=code_of("count_contrast.py"),
    script:
        "../scripts/count_contrast.py"


rule slot_use:
    input:
        report="<results>/healed/report.json",
    output:
        table="<results>/tables/slot_use.csv",
    log:
        "<logs>/slot_use/slot_use.log",
    benchmark:
        "<benchmarks>/slot_use/slot_use.jsonl"
    conda:
        "../../environment.yml"
    params:
        code=code_of("slot_use.py"),
    script:
        "../scripts/slot_use.py"


rule plot_slot_use:
    input:
        table="<results>/tables/slot_use.csv",
        labels=LABELS_FILE,
    output:
        figures=[
            "<results>/figures/slot_use.pdf",
            report(
                "<results>/figures/slot_use.png",
                caption="../report/slot_use.rst",
                category="4. Where facts are written",
                labels={"shows": "what ordinary text reads"},
            ),
        ],
    log:
        "<logs>/plot_slot_use/plot_slot_use.log",
    benchmark:
        "<benchmarks>/plot_slot_use/plot_slot_use.jsonl"
    conda:
        "../../environment.yml"
    params:
        code=code_of("plot_slot_use.py"),
    script:
        "../scripts/plot_slot_use.py"
