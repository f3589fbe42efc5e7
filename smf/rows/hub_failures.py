"""Turn errors of ``datasets`` and of the hub's client into our errors, with a remedy."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HTTPError

from smf.errors import DataError, did_you_mean

_LONGEST = 300  # characters shown of another library's message
_AS_FILES = "or download its files and set data_root to their folder"


def explained(
    source: Mapping, called: str, error: Exception, hub: str, configs: Callable[[], Sequence[str]]
) -> DataError:
    """Convert an error raised while reading a data set into ours.

    Args:
        source: The data set's source.
        called: The set's name in error messages.
        error: The error that was raised.
        hub: The hub's address.
        configs: Looks up the set's configurations.
    """
    name, causes = source["hub"], list(_causes(error))
    if any(isinstance(cause, GatedRepoError) or "is a gated dataset" in str(cause) for cause in causes):
        return gated(name, hub)
    if any("scripts are no longer supported" in str(cause) for cause in causes):
        where = f", with data_dir: {source['hub_config']} in place of hub_config" if source["hub_config"] else ""
        return DataError(
            f"{name} is a script, which datasets no longer runs; set its `revision` to refs/convert/parquet, where the "
            f"hub keeps a copy of its rows{where}, {_AS_FILES}"
        )
    start = f"cannot load {called} from the hub: {short(error)}"
    if any(isinstance(cause, (HTTPError, ConnectionError, TimeoutError)) for cause in causes):
        return DataError(f"{start}; {network_remedy(error)}, {_AS_FILES}")
    if isinstance(error, UnicodeDecodeError):
        return DataError(f"{called} is not UTF-8 text ({error}); take another set, {_AS_FILES}")
    if isinstance(error, ValueError) and (unknown := _unknown_config(source, configs())):
        return unknown
    if isinstance(error, (FileNotFoundError, NotImplementedError, ImportError)) or "ompression type" in str(error):
        where = f" below {source['data_dir']}" if source.get("data_dir") else ""
        return DataError(
            f"{start}; the set has no files{where} in a format that datasets reads; check data_dir, take a copy of it "
            f"in Parquet or JSONL, {_AS_FILES}"
        )
    return DataError(f"{start}; with first_rows a set of JSON is read row by row, whatever its columns, {_AS_FILES}")


def explained_for_task(task: str, settings: Mapping, error: Exception, hub: str) -> DataError:
    """Convert an error raised while lm-eval loaded a task's data into ours.

    Args:
        task: The task's name.
        settings: From the task's file: ``dataset_path`` and, if the set has several configurations, ``dataset_name``.
        error: The error that was raised.
        hub: The hub's address.
    """
    name, causes = str(settings.get("dataset_path")), list(_causes(error))
    start = f"evaluation.tasks.{task}: cannot load its data set {name}"
    if any(isinstance(cause, GatedRepoError) or "is a gated dataset" in str(cause) for cause in causes):
        return DataError(f"{start}: {gated(name, hub)}")
    if any("scripts are no longer supported" in str(cause) for cause in causes):
        return DataError(
            f"{start}: it is a script, which datasets no longer runs; name a folder as evaluation.include_path, and "
            "copy the task's file there, with dataset_kwargs: {revision: refs/convert/parquet}"
        )
    if any(isinstance(cause, (HTTPError, ConnectionError, TimeoutError)) for cause in causes):
        return DataError(f"{start} from the hub: {short(error)}; {network_remedy(error)}, or remove the task")
    return DataError(f"{start}: {short(error)}; look at the set on {hub}, or remove the task")


def gated(name: str, hub: str) -> DataError:
    """The error for a gated set, whose terms a user must accept first."""
    return DataError(f"{name} is gated: accept its terms on {hub}/datasets/{name}, then log in with `hf auth login`")


def network_remedy(error: Exception) -> str:
    """The remedy if the hub does not answer, or answers with a server error."""
    if any(isinstance(cause, HfHubHTTPError) for cause in _causes(error)):
        return "try again later"
    return "check the network, the proxy and HF_ENDPOINT"


def short(error: Exception) -> str:
    """An error's text on one line, truncated."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _unknown_config(source: Mapping, configs: Sequence[str]) -> DataError | None:
    name, config = source["hub"], source["hub_config"]
    if config in configs or not configs or (config is None and len(configs) == 1):
        return None
    wrong = f"no configuration {config!r}; {did_you_mean(config, configs)}" if config else "several configurations; "
    return DataError(f"{name} has {wrong}set hub_config to one of {', '.join(configs)}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
