# Data, streams and the base model.


rule prepare_data:
    input:
        make_lost_files_again,
    output:
        pretraining="<results>/data/pretraining.jsonl",
        background="<results>/data/background.jsonl",
        healing="<results>/data/healing.jsonl",
        held_out=HELD_OUT_FILES.values(),
        facts="<results>/data/facts.jsonl",
        labels="<results>/data/labels.json",
        contrast=only_if(EXPERIMENT.config["data"]["contrast"]["num_facts"], "<results>/data/contrast.jsonl"),
    log:
        "<logs>/prepare_data/prepare_data.log",
    benchmark:
        "<benchmarks>/prepare_data/prepare_data.jsonl"
    conda:
        "../../environment.yml"
    params:
        data=lambda wildcards: USER_FILES.data,
        contrast_wordings=contrast_wordings,
        code=code_of("prepare_data.py"),
    script:
        "../scripts/prepare_data.py"


rule paraphrase:
    input:
        facts="<results>/data/facts.jsonl",
    output:
        paraphrases="<results>/data/paraphrases.jsonl",
        report="<results>/data/paraphrases.json",
    log:
        "<logs>/paraphrase/paraphrase.log",
    benchmark:
        "<benchmarks>/paraphrase/paraphrase.jsonl"
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
    params:
        paraphrases=paraphrase_settings,
        device=EXPERIMENT.config["device"],
        code=code_of("paraphrase.py"),
    script:
        "../scripts/paraphrase.py"


rule draw_stream:
    input:
        facts="<results>/data/facts.jsonl",
        paraphrases=paraphrases_file,
        tokenizer="<results>/base/tokenizer.json",
    output:
        stream="<results>/streams/seed-{seed}.jsonl",
    log:
        "<logs>/draw_stream/seed-{seed}.log",
    benchmark:
        "<benchmarks>/draw_stream/seed-{seed}.jsonl"
    priority: 1  # it refuses answers that are too long, which nobody wants to hear after an hour of healing
    conda:
        "../../environment.yml"
    params:
        num_facts=EXPERIMENT.config["stream"]["num_facts"],
        order=EXPERIMENT.config["stream"]["order"],
        wordings=EXPERIMENT.wordings,
        max_new_tokens=EXPERIMENT.config["evaluation"]["max_new_tokens"],
        own_facts=are_own_facts(),
        code=code_of("draw_stream.py"),
    script:
        "../scripts/draw_stream.py"


rule base_model:
    input:
        pretraining="<results>/data/pretraining.jsonl",
        known=HELD_OUT_FILES[EXPERIMENT.known] if EXPERIMENT.known else [],
    output:
        model=expand("<results>/base/{file}", file=MODEL_FILES),
        report="<results>/base/report.json",
    log:
        "<logs>/base_model/base_model.log",
    benchmark:
        "<benchmarks>/base_model/base_model.jsonl"
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
        resume_interval=EXPERIMENT.config["resume_interval"],
    params:
        base=lambda wildcards: USER_FILES.with_checkpoint(EXPERIMENT.base),
        memory_layers=EXPERIMENT.unchecked_layers,
        device=EXPERIMENT.config["device"],
        code=code_of("base_model.py"),
    script:
        "../scripts/base_model.py"
