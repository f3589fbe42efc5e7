"""A memory without its base: what a retrofit and healing added to a model, saved alone, loaded by us or by peft."""
