# One method learns the stream of one seed.


rule learn:
    input:
        start=start_files,
        counts=counts_file,
        contrast=contrast_file,
        stream="<results>/streams/seed-{seed}.jsonl",
        texts=texts_file,
        contrast_texts=contrast_texts_file,
    output:
        deltas=expand(
            "<results>/runs/{{method}}/seed-{{seed}}/learn/position-{position}.safetensors",
            position=EXPERIMENT.positions,
        ),
        facts="<results>/runs/{method}/seed-{seed}/learn/facts.jsonl",
    log:
        "<logs>/learn/{method}.seed-{seed}.log",
    benchmark:
        "<benchmarks>/learn/{method}.seed-{seed}.jsonl"
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
        resume_interval=EXPERIMENT.config["resume_interval"],
    params:
        method=lambda wildcards: EXPERIMENT.runs[wildcards.method],
        stream=EXPERIMENT.learning,
        positions=EXPERIMENT.positions,
        max_length=EXPERIMENT.config["base"]["max_length"],
        whole_prompts=WHOLE_PROMPTS,
        device=EXPERIMENT.config["device"],
        code=lambda wildcards: code_of("learn.py", method_code(wildcards)),
    script:
        "../scripts/learn.py"
