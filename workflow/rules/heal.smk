# The memory model and what ordinary text reads of it.


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
    params:
        memory=EXPERIMENT.config["memory"],
        healing=EXPERIMENT.config["healing"],
        max_length=EXPERIMENT.config["base"]["max_length"],
        gradient_checkpointing=EXPERIMENT.config["base"]["gradient_checkpointing"],
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
    params:
        background=EXPERIMENT.config["background"],
        max_length=EXPERIMENT.config["base"]["max_length"],
        device=EXPERIMENT.config["device"],
        code=code_of("count_background.py"),
    script:
        "../scripts/count_background.py"
