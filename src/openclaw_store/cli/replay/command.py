"""The commands ``replay`` and ``demo``."""

import asyncio
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console

from openclaw_store.cli import commands, logs, output
from openclaw_store.cli.replay.display import display_on
from openclaw_store.cli.replay.run import Replay
from openclaw_store.cli.replay.scenario import Faults, Scenario
from openclaw_store.cli.replay.synthetic import invent
from openclaw_store.cli.replay.trace import equip, read_nodes, read_tasks
from openclaw_store.cli.report import Report
from openclaw_store.cli.text import number_of
from openclaw_store.database import Database
from openclaw_store.errors import ConfigurationError, NotFoundError

_MANY: Final = 64
_COMEBACK: Final = 1.0  # seconds after which a node that was declared lost shows up again

Json = Annotated[bool, typer.Option("--json", help="Print the report as one line of JSON.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Of everything that is left to chance.", min=0)]
Cluster = Annotated[str, typer.Option(metavar="NAME", help="The cluster.")]
Coordinators = Annotated[
    int, typer.Option(metavar="N", help="Let N coordinators' processes share the database.", min=1, max=_MANY)
]
Workers = Annotated[
    int, typer.Option(metavar="N", help="Spread the nodes over N processes; 0: over none.", min=0, max=_MANY)
]
Yes = Annotated[bool, typer.Option("--yes", help="Play into a database that has no tables or is not empty, unasked.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(epilog="Example: openclaw-store replay --nodes nodes.csv --tasks tasks.csv --kill-node-every 500")(
        replay
    )
    app.command(epilog="Example: openclaw-store demo --seed 7")(demo)


def replay(
    *,
    nodes: Annotated[Path, typer.Option(metavar="FILE", help="CSV: sn, cpu_milli, memory_mib, gpu, model.")],
    tasks: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="CSV: name, num_gpu, gpu_spec, qos, pod_phase, creation_time, deletion_time, scheduled_time.",
        ),
    ],
    url: Annotated[
        str | None,
        typer.Option(
            envvar="OPENCLAW_STORE_URL", metavar="ADDRESS", help="The database; without it a temporary one is made."
        ),
    ] = None,
    cluster: Cluster = "default",
    coordinators: Coordinators = 1,
    workers: Workers = 0,
    speed: Annotated[
        str, typer.Option(metavar="X|max", help="So many times faster than recorded; max: no waiting.")
    ] = "max",
    limit: Annotated[int | None, typer.Option(metavar="N", help="Play the first N tasks only.", min=1)] = None,
    kill_coordinator_after: Annotated[
        int | None, typer.Option(metavar="N", help="Kill a coordinator (SIGKILL) when N tasks have ended.", min=1)
    ] = None,
    kill_coordinator_every: Annotated[
        int,
        typer.Option(metavar="N", help="Kill a coordinator, each in turn, whenever N more tasks have ended.", min=0),
    ] = 0,
    kill_node_every: Annotated[
        int, typer.Option(metavar="N", help="Let a node die whenever N more tasks have ended.", min=0)
    ] = 0,
    seed: Seed = 1,
    as_json: Json = False,
    yes: Yes = False,
) -> None:
    """Replay a recorded cluster, with failures.

    At the end it checks that no task was lost or finished twice, and that caches, history and tables agree.

    A coordinator that was killed is started again; its nodes and customers turn to another one meanwhile.

    A node offers 'gpu', the type of its GPUs, and those combinations 'A|B' that tasks ask for. It runs one task for
    every four cores at once, and at least one for every GPU. Tasks recorded as Succeeded or Running end as completed,
    Failed ones as failed. Pending ones are given to no node, and cancelled when they were deleted. The quality of
    service becomes the priority: Guaranteed critical, LS high, Burstable normal, BE low.
    """

    def prepare() -> Scenario:
        pace = _pace(speed)
        recorded = read_nodes(nodes)
        plans = tuple(read_tasks(tasks)[:limit])
        kills = () if kill_coordinator_after is None else (kill_coordinator_after,)
        return Scenario(
            nodes=equip(recorded, plans),
            tasks=plans,
            speed=pace,
            seed=seed,
            faults=Faults(
                kill_coordinator_after=kills,
                kill_coordinator_every=kill_coordinator_every,
                kill_node_every=kill_node_every,
            ),
            comeback=0.0 if pace is None else _COMEBACK,
            coordinators=coordinators,
            workers=workers,
        )

    _run(prepare, url, cluster, as_json=as_json, yes=yes)


def demo(
    *,
    seed: Seed = 1,
    tasks: Annotated[int, typer.Option(metavar="N", help="How many tasks to invent.", min=1)] = 3000,
    coordinators: Coordinators = 1,
    workers: Workers = 0,
    keep: Annotated[Path | None, typer.Option(metavar="PATH", help="Keep the database in this new file.")] = None,
    url: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The database; without it a temporary one is made.")
    ] = None,
    cluster: Cluster = "default",
    as_json: Json = False,
    yes: Yes = False,
) -> None:
    """Run an invented cluster, with failures.

    A coordinator is killed half-way, and nodes die. At the end it checks that no task was lost or finished twice, and
    that caches, history and tables agree.
    """

    def prepare() -> Scenario:
        if keep is not None and url is not None:
            raise ConfigurationError("--keep names a new file, --url a database: give one of them")
        if keep is not None and keep.exists():
            raise ConfigurationError(f"--keep: {keep} exists already; name a new file")
        return msgspec.structs.replace(invent(seed, tasks), coordinators=coordinators, workers=workers)

    _run(prepare, url if keep is None else str(keep), cluster, as_json=as_json, yes=yes)


def _pace(speed: str) -> float | None:
    if speed == "max":
        return None
    try:
        pace = float(speed)
    except ValueError:
        pace = math.nan
    if not 0 < pace < math.inf:
        raise ConfigurationError(f"--speed must be 'max' or a number above zero, not {speed!r}")
    return pace


def _run(prepare: Callable[[], Scenario], url: str | None, cluster: str, *, as_json: bool, yes: bool) -> None:
    output.prepare_streams()
    logs.configure(verbose=False)

    def carry_out() -> Report:
        scenario = prepare()
        if url and not yes:
            commands.ask(_question(url, cluster), Database(url, cluster=cluster), creates=True)
        return asyncio.run(commands.until_terminated(_play(scenario, url, cluster)))

    raise typer.Exit(commands.outcome(carry_out, as_json=as_json))


def _question(url: str, cluster: str) -> str | None:
    """Return what to ask before a cluster is played into; None when there is nothing in it."""
    return asyncio.run(_look_into(Database(url, cluster=cluster, create=False, auto_upgrade=False)))


async def _look_into(database: Database) -> str | None:
    if not database.engine.exists():
        return None
    try:
        if await database.current_revision() is None:
            return f"There are no tables of this library in {database.engine.url}. Make them?"
        await database.initialize()
        stats = await database.get_stats()
    except NotFoundError:
        return None
    finally:
        await database.close()
    tasks, nodes = stats["task_count"], stats["node_count"]
    if not tasks and not nodes:
        return None
    return (
        f"The cluster {database.cluster!r} holds {number_of(tasks, 'task')} and {number_of(nodes, 'node')} already. The"
        " replay's nodes would take the tasks that wait, and nodes that are silent for some seconds would count as"
        " lost. Play into it?"
    )


async def _play(scenario: Scenario, url: str | None, cluster: str) -> Report:
    # A process that is killed leaves the folder behind; the system's temporary folder is cleared some day.
    with tempfile.TemporaryDirectory(prefix="openclaw-replay-") as name:
        folder = Path(name)
        with display_on(Console(stderr=True)) as display:
            replay = Replay(scenario, url or str(folder / "cluster.db"), cluster, folder, display)
            return (await replay.play()).report()
