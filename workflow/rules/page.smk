# An experiment's results on one page, which Snakemake's report includes too.

REPORT_FOLDER = WORKFLOW / "report"

# What each section shows: a caption in workflow/report and the name of an input.
STORY = [
    {
        "title": "What was learned, what was forgotten",
        "parts": [
            {"caption": "overview", "shows": "overview"},
            {"caption": "forgetting", "shows": "forgetting"},
            {"caption": "summary", "shows": "summary"},
        ],
    },
    {
        "title": "How the learning rates were chosen",
        "parts": [
            {"caption": "tuning", "shows": "tuning_figure"},
            {"caption": "tuning_table", "shows": "tuning_table"},
        ],
    },
    {
        "title": "Where facts are written",
        "parts": [
            {"caption": "slot_writes", "shows": "slot_writes"},
            {"caption": "slot_use", "shows": "slot_use"},
        ],
    },
    {"title": "What it cost", "parts": [{"caption": "compute", "shows": "compute"}]},
]


rule page:
    input:
        labels=LABELS_FILE,
        overview=["<results>/figures/overview.png"],
        forgetting=["<results>/figures/forgetting.png"],
        summary=["<results>/tables/summary.txt"],
        tuning_figure=only_if(EXPERIMENT.sweep, "<results>/figures/tuning.png"),
        tuning_table=only_if(EXPERIMENT.sweep, "<results>/tables/tuning.csv"),
        slot_use=only_if("healed" in EXPERIMENT.starts.values(), "<results>/figures/slot_use.png"),
        slot_writes=only_if(EXPERIMENT.memory_methods, "<results>/figures/slot_writes.png"),
        compute=["<results>/tables/compute.csv"],
    output:
        page=report(
            "<results>/page.html",
            caption="../report/page.rst",
            category="0. All on one page",
            labels={"shows": "the page"},
        ),
    log:
        "<logs>/page/page.log",
    benchmark:
        "<benchmarks>/page/page.jsonl"
    conda:
        "../../environment.yml"
    params:
        sections=STORY,
        shown=[part["shows"] for section in STORY for part in section["parts"]],
        facts={
            "methods": {
                name: EXPERIMENT.labels.get(name, EXPERIMENT.methods[name]["kind"]) for name in EXPERIMENT.starts
            },
            "seeds": EXPERIMENT.config["seeds"],
            "num_facts": EXPERIMENT.config["stream"]["num_facts"],
            "config": EXPERIMENT.config,
        },
        code=code_of("page.py", *REPORT_FOLDER.glob("*.rst"), REPORT_FOLDER / "page.html.jinja"),
    script:
        "../scripts/page.py"
