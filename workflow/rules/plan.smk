# What the experiment will need, before anything runs; not part of `all`.


rule plan:
    output:
        plan="<results>/plan.txt",
    log:
        "<logs>/plan/plan.log",
    benchmark:
        "<benchmarks>/plan/plan.jsonl"
    conda:
        "../../environment.yml"
    params:
        config=EXPERIMENT.config,
        probes=EXPERIMENT.probes,
        positions=EXPERIMENT.positions,
        code=code_of("plan.py"),
    script:
        "../scripts/plan.py"
