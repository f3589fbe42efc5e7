# Checks before the first job: no finished work is lost to a mistake that could have been seen at once.

from smf.files.seals import damaged, repair

MOST_SHOWN = 20


def kept_file(file):
    """Where an input is, if it is not a copy in the storage."""
    return Path(file.storage_object.query if file.is_storage else file)


def refuse_damaged():
    """Compare the inputs that no planned job makes with their seals, before Snakemake deletes any output."""
    planned = list(workflow.dag.needrun_jobs())
    made = {file for job in planned for file in job.output}
    read = {kept_file(file) for job in planned for file in job.input if file not in made}
    faults = damaged(Path(KEPT), sorted(read), DIGESTS.sha256)
    DIGESTS.save()
    if faults:
        shown = [*faults.values()][:MOST_SHOWN]
        more = [f"and {len(faults) - MOST_SHOWN} more"] if len(faults) > MOST_SHOWN else []
        raise WorkflowError(
            "files that jobs would read are not as they were made:\n\n"
            + "".join(f"    {line}\n" for line in [*shown, *more])
            + "\nNo job was started and nothing was deleted. Make them again, then repeat your command:\n\n"
            f"    {repair(faults, command_options())}\n"
        )
