"""Get models from the Hugging Face hub at a fixed commit, or fail within seconds with advice."""

import logging
import re
from pathlib import Path

from huggingface_hub import HfApi, constants, is_offline_mode, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from smf.errors import CheckpointError

logger = logging.getLogger(__name__)

_SECONDS = 10.0
"""How long the hub may take to answer. Its own client retries for most of a minute."""
_FILES = ("*.json", "*.safetensors", "*.model", "merges.txt", "vocab.txt", "*.jinja")
"""Configuration, weights and tokenizer; no pickles, and no second copy of the weights in another format."""


def download_model(
    name: str, revision: str, *, called: str = "base.name", folder_instead: str = "with `base.source: checkpoint`"
) -> tuple[Path, str]:
    """The folder of a model in the local cache, downloaded if it is not there yet.

    With the environment variable ``HF_HUB_OFFLINE=1`` it looks only in the cache.

    Args:
        name: ``owner/name``.
        revision: Branch, tag or commit.
        called: What error messages call ``name``.
        folder_instead: How to name a local folder instead, for error messages.

    Returns:
        The folder and the commit that it holds.

    Raises:
        CheckpointError: The hub does not answer, has no such model or revision, or denies access to it.
    """
    if is_offline_mode():
        return _from_cache(name, revision, folder_instead)
    try:
        HfApi().model_info(name, revision=revision, timeout=_SECONDS)
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(_FILES)))
    except HFValidationError as error:
        raise CheckpointError(f"{called}: {name!r} is not a hub model name; write owner/name") from error
    except RevisionNotFoundError as error:
        raise CheckpointError(
            f"base.revision: {name} has no revision {revision!r} on {constants.ENDPOINT}; look under its `Files`"
        ) from error
    except GatedRepoError as error:
        raise CheckpointError(
            f"{name} is gated: accept its terms on {constants.ENDPOINT}/{name}, then log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{called}: {constants.ENDPOINT} has no model {name}, or hides it; check the name, or log in with "
            "`hf auth login` if it is private"
        ) from error
    except (HTTPError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{constants.ENDPOINT} does not give {name}: {reason}. Without network, set HF_HUB_OFFLINE=1 to use what "
            f"the cache in {constants.HF_HUB_CACHE} holds, or name a local folder {folder_instead}"
        ) from error
    logger.info("%s at revision %s is commit %s", name, revision, folder.name)
    return folder, folder.name  # snapshots are named by their commit


def find_model(name: str, revision: str = "main") -> tuple[Path, str | None]:
    """The folder of a model, and its commit on the hub if it comes from there.

    Args:
        name: A folder, or a model on the hub (``owner/name``).
        revision: Branch, tag or commit on the hub.

    Raises:
        CheckpointError: The name is neither, or the model cannot be downloaded.
    """
    if (Path(name) / "config.json").is_file():
        return Path(name), None
    if Path(name).exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise CheckpointError(
            f"{name} is not a model folder, as it has no config.json; name one, or a model on the hub (owner/name)"
        )
    called = f"there is no folder {name}, and on the hub"
    return download_model(name, revision, called=called, folder_instead="in its place")


def _from_cache(name: str, revision: str, folder_instead: str) -> tuple[Path, str]:
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(_FILES), local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"HF_HUB_OFFLINE is set, and the cache in {constants.HF_HUB_CACHE} does not hold {name} at revision "
            f"{revision!r}; fetch it once with network, or name a local folder {folder_instead}"
        ) from error
    return folder, folder.name  # snapshots are named by their commit
