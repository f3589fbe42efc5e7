# Data, streams and the base model.


rule prepare_data:
    input:
        make_lost_files_again,
    output:
        pretraining="<results>/data/pretraining.jsonl",
        background="<results>/data/background.jsonl",
        healing="<results>/data/healing.jsonl",
        held_out=DRAWN_FILES.values(),
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
        facts=FACTS_FILE,
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
        facts=FACTS_FILE,
        paraphrases=paraphrases_file,
        tokenizer="<results>/base/tokenizer.json",
        texts=["<results>/data/background.jsonl"] if EXPERIMENT.config["stream"]["behind_text"] else [],
    output:
        stream="<results>/streams/seed-{seed}.jsonl",
    log:
        "<logs>/draw_stream/seed-{seed}.log",
    benchmark:
        "<benchmarks>/draw_stream/seed-{seed}.jsonl"
    priority: 1  # it refuses answers that are too long, which users should learn before an hour of healing
    conda:
        "../../environment.yml"
    params:
        num_facts=lambda wildcards: EXPERIMENT.num_facts(int(wildcards.seed)),
        order=EXPERIMENT.config["stream"]["order"],
        wordings=EXPERIMENT.wordings,
        text_share=EXPERIMENT.config["stream"]["behind_text"],
        examples_share=EXPERIMENT.config["stream"]["behind_examples"],
        max_new_tokens=EXPERIMENT.config["evaluation"]["max_new_tokens"],
        own_facts=are_own_facts(),
        updates=lambda wildcards: updates_of(EXPERIMENT.config["stream"], EXPERIMENT.num_facts(int(wildcards.seed))),
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


# Ask the base model first, to keep only the questions that it knows, or the facts that it does not. The script checks
# num_items and num_facts, but they are not params: changing them asks nothing again.
rule ask_base:
    input:
        model=expand("<results>/base/{file}", file=MODEL_FILES),
        held_out=[DRAWN_FILES[name] for name in KNOWN_SETS],
        facts=["<results>/data/facts.jsonl"] if ONLY_UNKNOWN_FACTS else [],
        labels="<results>/data/labels.json",
    output:
        held_out=KNOWN_FILES.values(),
        facts=[FACTS_FILE] if ONLY_UNKNOWN_FACTS else [],
        labels=f"<results>/{KNOWN}/labels.json",
        report=f"<results>/{KNOWN}/report.json",
    log:
        "<logs>/ask_base/ask_base.log",
    benchmark:
        "<benchmarks>/ask_base/ask_base.jsonl"
    priority: 1  # it refuses a base that knows too little, which users should learn before an hour of healing
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
        resume_interval=EXPERIMENT.config["resume_interval"],
    params:
        sets=KNOWN_SETS,
        asking={
            "num_fewshot": {name: EXPERIMENT.asking["num_fewshot"].get(name, 0) for name in KNOWN_SETS},
            **{key: EXPERIMENT.asking[key] for key in ("max_new_tokens", "batch_size", "seed", "prompt_format")},
        },
        neighbours=known_neighbours(EXPERIMENT.config["data"]),
        device=EXPERIMENT.config["device"],
        code=code_of("ask_base.py", *TASK_FILES),
    script:
        "../scripts/ask_base.py"
