"""Settings: one JSON file (0600, since it holds secrets), named by MAYFLY_SETTINGS."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec

from ray_cluster.floors import Floor
from stream.errors import BadRequest
from stream.events.rows import Lane

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class RootStoreName(StrEnum):
    """Where the keys of the trees' roots are wrapped."""

    FILE = "file"
    OPENBAO = "openbao"


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one pool scales."""

    max_actors: Count | None = None  # None: `max_actors` of all
    min_actors: Annotated[int, msgspec.Meta(ge=0)] = 0  # kept warm
    floors: tuple[Floor, ...] = ()  # more than that, at set hours in `time_zone`
    price_per_hour: NotNegative = 0.0  # of one actor
    gpus: NotNegative = 0.0  # that Ray books for one of its actors, or which share of one; 0: it runs on the CPU


class RamOnlyApps(StrEnum):
    """What a process does that finds that its memory could reach a disk (swap, core dumps)."""

    REQUIRED = "required"  # it does not start
    IF_SAFE = "if_safe"  # it starts, says so, and refuses the apps that are promised memory only


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every process is told at start. Times in seconds, sizes in bytes."""

    kafka: str
    s3_url: str
    s3_access_key: str
    s3_secret_key: str
    bucket: str
    ray_address: str = ""
    ray_token_path: str = ""
    ray_namespace: str = "mayfly"
    secret: str  # hex, 32 bytes: placement and id MACs
    internal_token: str  # gateway ↔ worker bearer
    tls_dir: str = ""  # CA, certificate and key for gateway ↔ worker mTLS; empty only in unit tests
    state_dir: str  # root store of files, audit signing key, Faust's data
    root_store: RootStoreName = RootStoreName.FILE
    root_store_grace_s: Positive = 300.0  # reads go on for as long while the root store is silent
    openbao_url: str = ""  # https://host:port
    openbao_mount: str = "mayfly"  # of a transit engine: one for each cluster, since keys are named by partition
    openbao_token_path: str = ""  # a file, read again for each call, so that an agent may replace it
    openbao_ca_path: str = ""  # PEM; empty: the system's
    policies_extra: str = ""  # a folder of further policies (tests)
    holiday_country: str = "CN"  # ISO 3166-1: whose legal holidays are no working days
    time_zone: str = "Asia/Shanghai"  # in which a working day ends, and floors of pools hold
    smtp_host: str = ""  # that takes mail with codes; empty: none is sent
    smtp_port: Count = 587
    smtp_tls: bool = True  # STARTTLS, checked; false only for a relay on this machine
    smtp_user: str = ""
    smtp_password: str = ""
    smtp_from: str = "no-reply@localhost"
    sms_webhook_url: str = ""  # that sends a text to a telephone; empty: none is sent
    sms_webhook_secret: str = ""  # shared with it: it signs what we post
    approvers_path: str = ""  # names and public keys of who may approve legal holds; empty: nobody may
    weights_dir: str = ""  # absolute; empty: where the engines look by themselves
    commercial: bool = True  # somebody pays: no model is loaded whose terms forbid that
    labels_dir: str = ""  # absolute: key.pem, chain.pem that sign results, rules.toml; empty: shipped rules, unsigned
    diffusion_models: str = ""  # absolute: a TOML file of big models; empty: none
    region: str = ""  # where this deployment is, as policies spell it; without it no app is served that names one
    partitions: Count = 4
    lead_s: Positive = 60.0  # ceiling − lead: takeover plus retries must fit
    returned_max_s: Positive = 600.0  # "gone once returned": at most this long after the job's end
    content_free_s: Positive = 86_400.0  # a job without results keeps its content-free row this long
    grant_ttl_s: Positive = 10.0
    revoke_wait_s: Positive = 0.5
    lease_url_s: Positive = 900.0
    retry_after_s: tuple[Positive, ...] = (1.0, 10.0, 60.0)  # a transient failure, tried again; then the job fails
    group_window_s: Positive = 0.02
    max_image_bytes: Count = 20 << 20
    max_video_bytes: Count = 200 << 20
    max_pixels: Count = 50_000_000
    max_duration_s: Positive = 60.0
    max_jobs_per_subject: Count = 1000
    max_items_per_job: Count = 32  # pictures of one batch; at most as many inputs as the gateway takes in a request
    max_wait_s: dict[
        Lane, Positive
    ] = {}  # predicted; a lane of a pool that would take longer is full (agents/admission)
    max_waiting: Count = 100_000  # jobs in one lane of one pool
    ram_only_apps: RamOnlyApps = RamOnlyApps.REQUIRED
    render_bytes: Count = 512 << 20  # sealed pictures in one gateway's memory: half for what came, half for results
    render_requests: Count = 64  # of RAM-only apps, at the same time, at one gateway
    render_items: Count = 64  # pictures in one request
    ticket_host: str = ""  # where engine actors reach a gateway; empty: its internal address
    max_actors: Count = 2
    actor_idle_s: Positive = 60.0
    actor_cooldown_s: NotNegative = 30.0  # none is let go so soon after its pool has grown
    cost_ceiling_per_hour: NotNegative | None = None  # of all actors together, in the unit of the pools' prices
    pools: dict[str, PoolSettings] = {}  # by name; a pool that is not here has the defaults
    actor_spares: Annotated[int, msgspec.Meta(ge=0)] = 0  # of each CPU pool, started and with nothing loaded
    actor_jobs: Count = 10_000  # an engine actor is replaced after so many jobs, once it has nothing to do
    actor_growth_bytes: Count = 1 << 30  # likewise, after its resident memory has grown by this
    demo_clock: bool = False  # a local demo may advance the promise clock
    event_retention_s: Positive = 3600.0
    parked_retention_s: Positive = 7 * 86_400.0
    log_level: str = "info"

    def __repr__(self) -> str:
        return f"Settings(kafka={self.kafka!r}, s3_url={self.s3_url!r}, partitions={self.partitions})"


class BadSettings(BadRequest):
    """The settings file cannot be used; the message names the failing key."""

    kind: ClassVar[str] = "bad-settings"


def load(path: str | Path | None = None) -> Settings:
    """Read the file named by `path` or MAYFLY_SETTINGS. Raises BadSettings."""
    name = path or os.environ.get("MAYFLY_SETTINGS")
    if not name:
        raise BadSettings("expected MAYFLY_SETTINGS to name a settings file; `mayfly up` writes one")
    try:
        return msgspec.json.decode(Path(name).read_bytes(), type=Settings)
    except OSError as error:
        raise BadSettings(f"expected a readable settings file, got {error.strerror}: {name}") from None
    except msgspec.MsgspecError as error:
        raise BadSettings(f"in {name}: {error}") from None


def save(settings: Settings, path: Path) -> None:
    """Write for children to read, readable by this user alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(settings)))
