"""Data sets of the Hugging Face hub, each read at one commit; errors name their remedy.

This is the only module that imports ``datasets``.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import datasets
from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from smf.errors import DataError, did_you_mean
from smf.files.artifacts import Columns
from smf.rows.files import read_rows_of
from smf.rows.hub_failures import explained, gated, network_remedy, short
from smf.rows.sources import hub_name

logger = logging.getLogger(__name__)

HUB_TIMEOUT = 10.0  # seconds until the hub counts as unreachable; its own client would retry for a minute


class Found(NamedTuple):
    """A data set at one commit.

    Attributes:
        commit: Commit of the set's repository.
        is_cached: Whether it is read from the local cache, because the hub does not answer.
    """

    commit: str
    is_cached: bool


def find_on_hub(source: Mapping) -> Found:
    """Resolve a source's ``revision`` (default ``main``) to a commit, on the hub or else in the local cache.

    Raises:
        DataError: The hub has no such set or revision, denies access to it, or does not name the commit; or it does
            not answer, and the cache does not hold the set.
    """
    name, revision, hub = source["hub"], _revision(source), datasets.config.HF_ENDPOINT
    if datasets.config.HF_HUB_OFFLINE:
        return _find_in_cache(source, "HF_HUB_OFFLINE is set", "unset it where there is network")
    try:
        commit = HfApi(endpoint=hub).dataset_info(name, revision=revision, timeout=HUB_TIMEOUT).sha
    except HFValidationError as error:
        raise DataError(f"{name!r} is not a hub data set name; write owner/name") from error
    except RevisionNotFoundError as error:
        raise DataError(
            f"{name} has no revision {revision!r} on {hub}; look for branches, tags and commits under its `Files`"
        ) from error
    except GatedRepoError as error:
        raise gated(name, hub) from error
    except RepositoryNotFoundError as error:
        raise DataError(
            f"{hub} has no data set {name}, or hides it; check the name, or log in with `hf auth login` if it is "
            "private"
        ) from error
    except (HTTPError, OSError) as error:
        verb = "fails" if isinstance(error, HfHubHTTPError) else "does not answer"
        return _find_in_cache(source, f"{hub} {verb} ({short(error)})", network_remedy(error))
    if commit is None:  # as a mirror may answer
        raise DataError(
            f"{hub} does not say which commit of {name} it has; set HF_ENDPOINT to another hub, or set data_root to a "
            "folder with the files"
        )
    return Found(commit, False)


def read_hub(source: Mapping, columns: Columns, optional: Columns) -> Iterator[dict]:
    """Read the rows of a set, with the wanted columns that it has.

    With ``first_rows`` only the rows that are read are downloaded. JSON is then read row by row, so that other columns
    may change from row to row.

    Args:
        source: ``hub``, ``hub_config``, ``split`` and optionally ``revision``, ``data_dir``, ``first_rows`` and
            ``found``, the result of :func:`find_on_hub`.
        columns: Required columns; if one is missing, rows have all columns of the set.
        optional: Columns that may be missing.

    Raises:
        DataError: The set cannot be found or read, or has no such configuration or split.
    """
    found = source.get("found") or find_on_hub(source)
    try:
        builder = _builder(source, found)
        _require_split(source, builder)
        if found.is_cached or not source.get("first_rows"):
            builder.download_and_prepare()
            data = builder.as_dataset(split=source["split"])
            if set(columns) <= set(data.column_names):
                data = data.select_columns([name for name in (*columns, *optional) if name in data.column_names])
            yield from data
        elif files := _json_files(source, builder):
            yield from _json_rows(source, files)
        else:  # Parquet and the like, whose columns do not change
            yield from builder.as_streaming_dataset(split=source["split"])
    except (
        OSError,
        ValueError,
        RuntimeError,
        ImportError,
        HTTPError,
        datasets.exceptions.DatasetsError,
        datasets.table.CastError,
    ) as error:
        hub, configs = datasets.config.HF_ENDPOINT, partial(_configs, source["hub"], found)
        raise explained(source, hub_name(source), error, hub, configs) from error


def _revision(source: Mapping) -> str:
    return source.get("revision") or "main"


def _builder(source: Mapping, found: Found) -> datasets.DatasetBuilder:
    options = {"data_dir": source["data_dir"]} if source.get("data_dir") else {}
    with _cache_only_if(found.is_cached):
        builder = datasets.load_dataset_builder(source["hub"], source["hub_config"], revision=found.commit, **options)
    if builder.hash != found.commit:  # if something fails, datasets takes any version in its cache
        raise DataError(
            f"{hub_name(source)}: the hub has commit {found.commit}, but datasets read {builder.hash} from its cache "
            f"in {datasets.config.HF_DATASETS_CACHE}; remove the set there, or set `revision` to the commit you want"
        )
    return builder


def _find_in_cache(source: Mapping, why: str, remedy: str) -> Found:
    name, cache = source["hub"], datasets.config.HF_DATASETS_CACHE
    logger.warning("%s; looking for %s in the local cache %s", why, name, cache)
    options = {"data_dir": source["data_dir"]} if source.get("data_dir") else {}
    try:
        with _cache_only_if(True):
            commit = datasets.load_dataset_builder(name, source["hub_config"], **options).hash
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot load {hub_name(source)} from the hub: {why}, and the cache in {cache} does not hold it; {remedy}, "
            "or set data_root to a folder with the files"
        ) from error
    revision = _revision(source)
    if re.fullmatch("[0-9a-f]{40}", revision) and commit != revision:
        raise DataError(
            f"cannot load {hub_name(source)} from the hub: {why}, and the cache in {cache} holds commit {commit}, not "
            f"revision {revision}; {remedy}, or set data_root to a folder with the files"
        )
    return Found(commit, True)


@contextmanager
def _cache_only_if(offline: bool) -> Iterator[None]:
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _require_split(source: Mapping, builder: datasets.DatasetBuilder) -> None:
    known = [str(split) for split in builder.config.data_files or builder.info.splits or ()]
    for part in source["split"].split("+"):
        split = part.split("[")[0].strip()
        if known and split not in (*known, "all"):
            raise DataError(
                f"{source['hub']} has no split {split!r}; {did_you_mean(split, known)}it has {', '.join(known)}"
            )
    if known and source.get("first_rows") and source["split"] not in known:
        raise DataError(
            f"{source['hub']}: the split is {source['split']!r}, but first_rows reads the beginning of a whole one; "
            f"name one of {', '.join(known)}, or leave first_rows out"
        )


def _json_files(source: Mapping, builder: datasets.DatasetBuilder) -> list[str]:
    """The JSON files of a split on the hub; none if the set is not JSON."""
    files = (builder.config.data_files or {}).get(source["split"], []) if builder.name == "json" else []
    is_plain = getattr(builder.config, "field", None) is None and all(file.startswith("hf://") for file in files)
    return list(files) if is_plain else []


def _json_rows(source: Mapping, files: Iterable[str]) -> Iterator[dict]:
    system = HfFileSystem(endpoint=datasets.config.HF_ENDPOINT)
    for address in files:
        name = address.rsplit("/", 1)[1]
        with system.open(address, "rb") as file:
            for record in read_rows_of(file, name, f"{hub_name(source)}, file {name}"):
                yield record.values


def _configs(name: str, found: Found) -> list[str]:
    try:
        with _cache_only_if(found.is_cached):
            return datasets.get_dataset_config_names(name, revision=found.commit)
    except (OSError, ValueError, RuntimeError, HTTPError):
        return []  # the original error is reported
